"""From result folders to tidy tables."""
