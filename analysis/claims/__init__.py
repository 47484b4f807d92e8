"""What a study was to decide, and the verdicts."""
