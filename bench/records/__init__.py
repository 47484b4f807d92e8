"""The record of a block: its one format on disk, who writes it, and what mirrors it."""
