"""How seeds are written, and what a record may lack or have too much."""

import pytest
import yaml

import bench
from bench import packs
from bench.config.identity import cell_hash
from bench.config.parse import parse, to_mapping
from bench.errors import UserError
from bench.paths import ROOT


def test_seeds_are_a_count_or_a_list():
    assert bench.compose(["seeds=3"]).seeds == (0, 1, 2)
    assert bench.compose(["seeds=[7,3]"]).seeds == (3, 7)


def test_records_of_earlier_versions_are_read_without_the_keys_that_went():
    found = packs.blocks_below(ROOT / "results/tuned/runs/cartpole")
    (block,) = [path for path in found if path.match("critic-gae-clip-*/seeds-000-019")]
    recorded = yaml.safe_load(packs.read_bytes(block / "config.yaml"))
    assert {"sampler", "startup", "overlays"} <= recorded["study"]["tuning"].keys()
    assert block.parent.name.endswith(cell_hash(parse(recorded)))


def test_what_an_option_needs_belongs_to_it():
    with pytest.raises(UserError, match=r"advantage\.needs=\[\]: belongs to advantage=gae and cannot be set"):
        bench.compose(["advantage.needs=[]"])
    assert "needs" not in to_mapping(bench.compose())["advantage"]
