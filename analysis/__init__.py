"""From records to tables, figures and answers."""
