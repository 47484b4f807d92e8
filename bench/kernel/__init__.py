"""Arithmetic with the same bits on every machine: C for stacked networks and elementary functions, and its loader."""
