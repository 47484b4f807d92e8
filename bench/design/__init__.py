"""Which settings the arms of a study are tried with, and which of them are judged."""
