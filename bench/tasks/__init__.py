"""Batched environments, their exact solutions, and the registry."""
