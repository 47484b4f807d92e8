"""Tuning that is fair: every arm tries as many settings, from one distribution, on seeds that never judge the winner."""
