"""From tidy tables to the tables of a report."""
