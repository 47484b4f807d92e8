"""Any configuration runs its first update, or is refused in one line: never a traceback."""

import warnings
from typing import Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cells.planning import Composer
from bench.config.options import groups
from bench.config.schema import Config
from bench.errors import UserError
from bench.learner import train as learner
from bench.paths import CONF
from bench.records.provenance import COMMAND
from tests import fuzz_typed

# Groups whose options are cells; a plug-in, a library's class or a trained policy would have to be there first, and a
# winner of tuning fixes the arm and the task.
GROUPS = [group for group in groups() if group not in ("study", "cluster", "algorithm", "preset")]
ABSENT = ("plugin", "checkpoint", "gym")
OPTIONS = {
    group: [path.stem for path in sorted((CONF / group).glob("*.yaml")) if path.stem not in ABSENT] for group in GROUPS
}
NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 7, 0.0, 0.5, 0.99, 1.0, 1.5, 1e-9, 1e6, None, "text", True])
SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "gamma": NUMBERS,
    "gae_lambda": NUMBERS,
    "n_step": NUMBERS,
    "truncation": st.sampled_from(["end", "bootstrap", "both"]),
    "advantage_norm": st.sampled_from(["none", "rms", "mean_std"]),
    "aggregate": st.sampled_from(["step", "episode"]),
    "grad_clip": st.sampled_from(["separate", "joint"]),
    "max_grad_norm": NUMBERS,
    "learning_rate": NUMBERS,
    "learning_rate_schedule": st.sampled_from(["constant", "linear"]),
    "clip_range": NUMBERS,
    "kl_coef": NUMBERS,
    "ent_coef": NUMBERS,
    "norm_obs": st.booleans(),
    "norm_reward": st.booleans(),
    "hidden": st.sampled_from([[8, 8], [33, 5], [0, 8], [8], "wide"]),
    "group.groups": st.sampled_from([0, 1, 2, 3]),
    "group.size": st.sampled_from([0, 1, 2, 4]),
    "group.start": st.sampled_from(["shared", "independent"]),
    "group.credit": st.sampled_from(["outcome", "reward_to_go"]),
    "group.scale": st.sampled_from(["none", "std", "rank"]),
    "group.leave_one_out": st.booleans(),
    "group.ddof": st.sampled_from([0, 1, 2]),
    "group.alive_only": st.booleans(),
    "group.temperature": st.sampled_from([-1, 0, 0.5, 1e9, "text"]),
    "update.epochs": st.sampled_from([0, 1, 2]),
    "update.minibatches": st.sampled_from([0, 1, 3, 1000]),
    "critic.epochs": st.sampled_from([0, 1, 2]),
    "critic.minibatches": st.sampled_from([0, 1, 3]),
    "critic.target": st.sampled_from(["same", "td0", "gae", "monte_carlo"]),
    "critic.network": st.sampled_from(["separate", "shared"]),
    "critic.vf_coef": NUMBERS,
    "collect.n_steps": st.sampled_from([None, 0, 1, 5, 16]),
    "collect.n_envs": st.sampled_from([None, 0, 1, 2]),
    "exploration.sample_freq": st.sampled_from([None, 0, 1, 3]),
    "exploration.log_std_init": st.sampled_from([-2, 0, 0.5, "text"]),
    "task.time_limit": st.sampled_from([None, 0, 1, 7, 20]),
    "evaluation.points": st.sampled_from([-1, 0, 1, 2]),
    "evaluation.episodes": st.sampled_from([0, 1]),
    "seeds": st.sampled_from([0, 1, [3, 5], [3, 3], "all"]),
    "budget": st.sampled_from([0, 1, 700, 2000]),
}
CELLS = st.tuples(
    st.fixed_dictionaries({}, optional={group: st.sampled_from(options) for group, options in OPTIONS.items()}),
    st.fixed_dictionaries({}, optional=SETTINGS),
)
SMALL = {"task": "weekly_exam", "budget": 700, "group.groups": 1, "group.size": 2, "evaluation.points": 1}
SMALL |= {"evaluation.episodes": 1, "seeds": 1, "hidden": [8, 8], "update.epochs": 1}


class Enough(Exception):
    """The first update is done."""


class Until:
    """Ends training after the first update."""

    def on_update(self, rows):
        assert rows
        raise Enough

    def on_evaluation(self, rows):
        assert rows

    def on_exact_returns(self, rows):
        assert rows

    def on_progress(self, fraction, current_return):
        pass

    def on_checkpoint(self, save):
        pass


@pytest.fixture
def composer():
    """Composes once per choice of options: composing takes a tenth of a second. Hydra is left as it was found."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        load = lambda overrides: hydra_compose("config", overrides=overrides, return_hydra_config=True)  # noqa: E731
        yield Composer(load, [], groups())


@pytest.mark.slow
@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(cell=CELLS)
def test_any_configuration_is_refused_in_a_line_or_trains(composer, cell):
    options, values = cell
    try:
        config = composer({**SMALL, **options, **values}).parse()
    except UserError as refusal:
        outcome = str(refusal)
    else:
        outcome = _first_update(config)
    assert outcome
    assert "\n" not in outcome


@pytest.mark.parametrize(("number", "seed"), [(12, 5), pytest.param(60, 6, marks=pytest.mark.slow)])
def test_any_command_line_is_planned_or_refused_in_a_line(tmp_path, monkeypatch, number, seed):
    """A part of those that were run once: `python -m tests.fuzz_typed 2000`. A line takes half a second."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "HYDRA_FULL_ERROR", COMMAND):
        monkeypatch.setenv(name, "")
    problems, outcomes = fuzz_typed.fuzz(number, seed, tmp_path)
    assert problems == []
    assert outcomes.total() == number
    assert min(outcomes["planned"], outcomes["refused"], outcomes["study refused"]) > 0


def _first_update(config: Config) -> str:
    """What came of it: that it trained, why it was refused, or nothing where training ended without an update."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            learner.train(config, config.seeds, Until())
        except Enough:
            return "trained"
        except UserError as refusal:
            return str(refusal)
    return ""
