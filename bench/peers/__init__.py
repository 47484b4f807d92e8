"""Algorithms of other libraries, recorded like the suite's own."""
