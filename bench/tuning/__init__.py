"""Tuning that is fair: every arm tries as many settings, of one distribution, on seeds that never judge the winner."""
