"""This suite and its peers side by side: environment steps per second on one core.

Every measurement is a fresh process with one thread, so that nothing is shared or still warm; repeats are interleaved
(A B C A B C …), so that a busy machine is busy for all of them; results are medians, and ratios of neighbours.
"""
