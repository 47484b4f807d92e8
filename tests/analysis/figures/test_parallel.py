"""Work in several processes gives what it gives in one."""

import os

import pytest

from analysis.figures import parallel


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_results_come_in_the_order_of_the_items(processes):
    offset = 10  # what forked processes see of this one
    assert list(parallel.each(lambda item: item + offset, range(7), processes)) == list(range(10, 17))


@pytest.mark.skipif(parallel.cores() < 2, reason="one core, or no safe fork")
def test_the_work_is_done_elsewhere():
    assert os.getpid() not in set(parallel.each(lambda _: os.getpid(), range(4), 2))


def test_an_error_reaches_whoever_asks():
    with pytest.raises(ZeroDivisionError):
        list(parallel.each(lambda item: 1 / item, [1, 0, 2], 2))
