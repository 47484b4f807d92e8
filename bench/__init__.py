"""Controlled ablations of policy-gradient variants."""
