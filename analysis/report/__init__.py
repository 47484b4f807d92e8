"""The report of a study: text, page and files."""
