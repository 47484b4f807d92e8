"""The record of a block on disk."""
