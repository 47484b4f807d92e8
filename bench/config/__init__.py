"""The typed configuration of a cell: its schema, what is refused, and what makes it the cell it is."""
