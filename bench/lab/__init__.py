"""The laboratory: bias and variance of every estimator against ground truth."""
