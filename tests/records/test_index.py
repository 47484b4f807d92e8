"""What a study's indexes say, whoever writes them at once."""

import json
import multiprocessing

import pytest

from bench.errors import UserError
from bench.records.files import Damaged
from bench.records.index import LAB, STUDY, TUNING

FORK = multiprocessing.get_context("fork")
STAGE = {"task": "t", "stage": "end", "hash": "0123abcd", "path": "lab/t/end-0123abcd/seeds-000"}


def add(study, number):
    def merged(index):
        return {"name": "s", "cells": [*index["cells"], {**STAGE, "path": str(number)}]}

    known = {str(number)}
    for _ in range(5):  # the same entry again is one more: only this process's own can be counted
        LAB.update(study, lambda index: index if known & {cell["path"] for cell in index["cells"]} else merged(index))


def test_nothing_that_several_add_at_once_is_lost(tmp_path):
    adders = [FORK.Process(target=add, args=(tmp_path, number)) for number in range(6)]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join()
    cells = LAB.read(tmp_path)["cells"]
    assert sorted(cell["path"] for cell in cells) == [str(number) for number in range(6)]


def test_where_nothing_was_planned_there_are_no_entries(tmp_path):
    assert STUDY.read(tmp_path / "nowhere") == {"cells": []}
    assert TUNING.read(tmp_path) == {"candidates": []}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not readable as JSON"),
        ("[]", "not a JSON object"),
        ('{"schema": 2, "cells": []}', "schema 2, this version reads schema 1"),
        ('{"schema": 1}', "no list 'cells'"),
        (json.dumps({"schema": 1, "cells": [STAGE, {**STAGE, "path": None}]}), "an entry of 'cells': 'path' is None"),
        ('{"schema": 1, "cells": [3]}', "an entry of 'cells': it is 3"),
    ],
)
def test_a_damaged_index_is_named_and_kept(tmp_path, content, reason):
    (tmp_path / LAB.file).write_text(content)
    with pytest.raises(Damaged, match=reason):
        LAB.load(tmp_path)
    with pytest.raises(UserError, match=rf"damaged index {tmp_path}/lab\.json \({reason}.*nothing was changed"):
        LAB.update(tmp_path, lambda _: {"cells": []})
    assert (tmp_path / LAB.file).read_text() == content
