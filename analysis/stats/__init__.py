"""Point estimates, intervals and tests."""
