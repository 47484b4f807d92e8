"""Running cells: the seeds that are missing, many cells side by side, and what that will take."""
