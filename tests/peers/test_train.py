"""Libraries' algorithms: recorded and judged like arms, and disturbed by nothing."""

import dataclasses
import functools
import itertools
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.running_mean_std import RunningMeanStd

import bench
from analysis.claims import comparisons
from analysis.load import load, read
from bench.commands.rerun import rerun
from bench.config.schema import Config
from bench.errors import UserError
from bench.execution import execute
from bench.learner import PolicyGradient, archive
from bench.learner.evaluate import evaluate
from bench.peers import train as training
from bench.peers.evaluate import evaluate as evaluate_peer
from bench.peers.evaluate import exact_returns
from bench.peers.library import build, peer_seed
from bench.peers.saved import TrainedPeers
from bench.peers.saved import load as load_peer
from bench.peers.train import train
from bench.tasks.cartpole import CartPole
from bench.tasks.exam_question import ExamQuestion
from bench.tasks.registry import gymnasium_env, make
from tests.learner.probes import Notes
from tests.tasks.simulation import standard_errors
from tests.tasks.zoo import TRAPS, ZOO, Trap, first_resets, registered

SMALL = ("budget=200", "evaluation.points=2", "evaluation.episodes=2")
BATCH = ("algorithm.n_envs=2", "algorithm.parameters.n_steps=32")  # batches of 64 steps
PEERS: dict[str, tuple[str, ...]] = {
    "sb3_ppo": (*BATCH, "algorithm.parameters.n_epochs=2"),
    "sb3_a2c": (),
    "contrib_trpo": (*BATCH, "algorithm.parameters.batch_size=32"),
    "contrib_ars": ("algorithm.parameters.n_delta=2",),
    "library": ("algorithm._target_=stable_baselines3:DQN", "+algorithm.parameters.learning_starts=50"),
}


class Breaks(PPO):
    """Fails in its second update where its seed is that of seed 1, diverges in the last where it is that of seed 2."""

    def train(self) -> None:
        super().train()
        if self.seed == peer_seed(1) and self.num_timesteps > 64:
            raise RuntimeError("this seed breaks\nwith details nobody needs")
        if self.seed == peer_seed(2) and self.num_timesteps > 128:
            self.policy.value_net.bias.data.fill_(torch.nan)


@functools.cache
def composed(*overrides: str) -> Config:
    return bench.compose(overrides)


def settings(name: str, *overrides: str) -> Config:
    """A small cell of a peer, on CartPole with short episodes unless a task is named."""
    task = () if any(word.startswith("task=") for word in overrides) else ("task.time_limit=20",)
    return composed(f"algorithm={name}", *SMALL, *PEERS[name], *task, *overrides)


def trained(config: Config, seeds: Sequence[int] = (0, 1)) -> tuple[TrainedPeers, Notes]:
    notes = Notes()
    return train(config, seeds, notes), notes


def weights(block: TrainedPeers, seed: int) -> torch.Tensor:
    return torch.cat([value.flatten() for value in block.weights[str(seed)]["policy"].values()])


@pytest.mark.parametrize(
    ("name", "task"),
    [*((name, "weekly_exam") for name in PEERS), ("sb3_ppo", "cartpole"), ("sb3_a2c", "pendulum")],
)
def test_a_peer_leaves_what_an_arm_leaves(name: str, task: str) -> None:
    overrides = ("task.time_limit=20",) if task != "weekly_exam" else ()
    block, notes = trained(settings(name, f"task={task}", "sample_solved=true", *overrides))
    found = [(row["seed"], row["step"], row["mode"], row["episode"]) for row in notes.evaluations]
    assert found == [
        (seed, step, mode, episode)
        for seed in (0, 1)
        for step in (0, 100, 200)
        for mode in ("deterministic", "stochastic")
        for episode in range(2)
    ]
    assert all(set(row) >= {"return", "length"} and row["length"] <= 20 for row in notes.evaluations)
    for seed, outcome in block.outcomes.items():
        rows = [row for row in notes.updates if row["seed"] == seed]
        assert outcome.status == "done"
        assert outcome.cause is None
        assert outcome.env_steps + outcome.unused_budget == 200
        assert [row["update"] for row in rows] == list(range(1, outcome.updates + 1))
        assert any(key.startswith("train/") for key in rows[-1])
        assert all(np.isfinite(row["rollout/ep_rew_mean"]) for row in rows if row["rollout/ep_len_mean"] > 0)
    assert block.parameters["actor"] > 0


def _log_probs(policy: ActorCriticPolicy, seen: np.ndarray, action: int) -> np.ndarray:
    actions = torch.full((len(seen),), action)
    return np.asarray(policy.evaluate_actions(torch.as_tensor(seen), actions)[1].detach().double())


@pytest.mark.parametrize("name", PEERS)
def test_action_probabilities_have_exact_returns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers to an exam question: the mean of their points, by hand. ARS and DQN say no probabilities."""
    expected: list[float] = []

    def kept(model: BaseAlgorithm, task: ExamQuestion, seed: int, **how: bool) -> Any:
        rows = exact_returns(model, task, seed, **how)
        if rows:
            assert isinstance(model.policy, ActorCriticPolicy)
            seen = task.observations().T
            chosen, _ = model.predict(seen, deterministic=True)
            found = np.exp([_log_probs(model.policy, seen, answer) for answer in range(4)]).T
            points = task.setting.points.reshape(4, 4) / 100
            expected.extend([points[np.arange(4), chosen].mean(), (found * points).sum() / 4])
        return rows

    monkeypatch.setattr(training, "exact_returns", kept)
    _, notes = trained(settings(name, "task=exam_question"))
    assert [row["exact_return"] for row in notes.exact_returns] == pytest.approx(expected, abs=1e-6)  # single precision
    assert {row["exact_length"] for row in notes.exact_returns} <= {1.0}
    assert bool(notes.evaluations) != bool(notes.exact_returns)
    keys = [(row["seed"], row["step"], row["mode"]) for row in notes.exact_returns]
    points = itertools.product((0, 1), (0, 100, 200), ("deterministic", "stochastic"))
    assert keys == (list(points) if name in ("sb3_ppo", "sb3_a2c", "contrib_trpo") else [])


def test_normalised_observations_are_those_of_the_episodes() -> None:
    """Four thousand episodes of a trained peer, within 4 standard errors of the exact mean."""
    config = settings("sb3_a2c", "task=weekly_exam", "norm_obs=true")
    block, _ = trained(config, [0])
    model, task = build(config, make(config.task), 0)[0], make(config.task)
    model.policy.load_state_dict(block.weights["0"]["policy"])
    normalisation = model.get_vec_normalize_env()
    assert normalisation is not None
    assert isinstance(normalisation.obs_rms, RunningMeanStd)
    normalisation.obs_rms.mean = np.full(4, 0.4)
    played = evaluate_peer(model, task, 0, 1, 4000)
    for row in exact_returns(model, task, 0):
        sample = np.array([each["return"] for each in played if each["mode"] == row["mode"]])
        assert abs(standard_errors(sample, float(row["exact_return"]))) < 4


def test_whole_batches_fill_the_budget_and_the_rest_is_recorded() -> None:
    ppo, notes = trained(settings("sb3_ppo"), [3])
    assert dataclasses.astuple(ppo.outcomes[3]) == ("done", None, 192, 3, 8)  # three batches of 64 in 200 steps
    assert [row["step"] for row in notes.updates] == [64, 128, 192]
    exact, _ = trained(settings("sb3_ppo", "budget=128"), [3])
    assert dataclasses.astuple(exact.outcomes[3]) == ("done", None, 128, 2, 0)
    ars, _ = trained(settings("contrib_ars"), [3])
    assert ars.outcomes[3].env_steps == 200  # what is left of the budget goes into a population that is not finished


def test_diagnostics_have_sb3s_names_and_no_more_rows_than_a_reader_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    _, notes = trained(settings("sb3_ppo"), [0])
    assert {"train/approx_kl", "train/clip_fraction", "train/entropy_loss", "train/value_loss"} <= set(notes.updates[0])
    monkeypatch.setattr(training, "MOST_ROWS", 2)
    _, notes = trained(settings("sb3_a2c"), [0])
    assert [row["step"] for row in notes.updates] == [120, 200]  # updates every 40 steps, rows every 100 at most


def test_the_same_policy_plays_the_same_episodes_as_ours() -> None:
    """One of our replicas, and the stock SB3 model made of it, in the evaluation environments of one grid step."""
    ours = PolicyGradient(env="Pendulum-v1", seeds=[4, 5])
    task = make(bench.compose(["task=pendulum"]).task)
    expected = evaluate(ours.policy.acting(), task, ours.seeds, 7, 3)
    found = evaluate_peer(ours.replica(1), task, 5, 7, 3)
    for row, other in zip([row for row in expected if row["seed"] == 5], found, strict=True):
        if row["mode"] == "deterministic":
            assert other["return"] == pytest.approx(row["return"], rel=1e-5)
        else:  # the starts are the same, the noise is the library's
            assert other["return"] != row["return"]


@pytest.mark.parametrize("name", ["sb3_ppo", "contrib_ars", "library"])
def test_evaluating_more_often_changes_no_training_number(name: str) -> None:
    rare, rare_notes = trained(settings(name, "evaluation.points=1"), [0])
    often, often_notes = trained(settings(name, "evaluation.points=9", "evaluation.episodes=3"), [0])
    assert torch.equal(weights(rare, 0), weights(often, 0))
    np.testing.assert_equal(rare_notes.updates, often_notes.updates)


def test_a_seed_is_the_same_alone_and_beside_others() -> None:
    alone, _ = trained(settings("sb3_ppo"), [1])
    beside, _ = trained(settings("sb3_ppo"), [0, 1, 2])
    assert torch.equal(weights(alone, 1), weights(beside, 1))
    assert not torch.equal(weights(beside, 0), weights(beside, 1))


def test_the_process_wide_generators_are_given_back() -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    trained(settings("sb3_ppo"), [0])
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_a_grid_step_is_judged_with_the_policy_it_was_taken_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 64 steps: the policy of step 64 has learned from the first batch, that of step 100 from no more."""
    judged: dict[int, torch.Tensor] = {}
    after: list[torch.Tensor] = []

    def flat(model: BaseAlgorithm) -> torch.Tensor:
        return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach().clone()

    def spy(model: BaseAlgorithm, _task: object, _seed: int, index: int, *_: object) -> list[dict[str, Any]]:
        judged[index] = flat(model)
        return [{"seed": 0, "mode": "deterministic", "return": 0.0}]

    original = PPO.train

    def train_and_look(self: PPO) -> None:
        after.append(flat(self))
        original(self)

    monkeypatch.setattr(training, "evaluate", spy)
    monkeypatch.setattr(PPO, "train", train_and_look)
    trained(settings("sb3_ppo", "budget=256", "evaluation.points=8"), [0])  # grid 0, 32, 64, …, 256
    updates_before = {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 5: 2, 6: 3, 7: 3}
    for index, updates in updates_before.items():
        assert torch.equal(judged[index], after[updates])
    assert not any(torch.equal(judged[8], earlier) for earlier in after)  # 256 is judged after the last update


def test_a_failing_seed_is_marked_and_the_others_go_on() -> None:
    target = "algorithm._target_=tests.peers.test_train:Breaks"
    small = ("+algorithm.parameters.n_steps=64", "+algorithm.parameters.batch_size=32")
    block, notes = trained(composed("algorithm=library", target, *small, *SMALL), [0, 1, 2, 3])
    assert [outcome.status for outcome in block.outcomes.values()] == ["done", "failed", "failed", "done"]
    assert block.outcomes[1].cause == "RuntimeError: this seed breaks"
    assert (block.outcomes[1].env_steps, block.outcomes[1].updates) == (128, 1)
    assert block.outcomes[2].cause == "the weights were not finite at the end"
    assert {row["seed"] for row in notes.evaluations if row["step"] == 200} == {0, 2, 3}
    assert "1" not in block.weights


def test_seeds_are_far_apart() -> None:
    found = sorted(peer_seed(seed, pool) for seed in range(200) for pool in ("main", "tuning"))
    assert min(np.diff(found)) > 100  # SB3 seeds the environments of one seed with the integers from it on
    assert 0 <= found[0] < found[-1] < 2**31


def test_environments_are_gymnasiums_and_time_limits_are_told_as_sb3_expects() -> None:
    assert gymnasium_env(CartPole()).unwrapped.spec.id == "CartPole-v1"
    _, log = build(settings("sb3_ppo", "task.time_limit=5"), CartPole(5), 0)
    log.seed(0)
    log.reset()
    for _ in range(4):
        _, _, dones, _ = log.step(np.array([0, 1]))
        assert not dones.any()
    observations, rewards, dones, infos = log.step(np.array([1, 0]))
    assert dones.all()
    assert rewards.tolist() == [1.0, 1.0]
    for observation, info in zip(observations, infos, strict=True):
        assert info["TimeLimit.truncated"]
        assert not np.array_equal(info["terminal_observation"], observation)
    assert log.take() == {"rollout/ep_rew_mean": 5.0, "rollout/ep_len_mean": 5.0}
    assert np.isnan(log.take()["rollout/ep_rew_mean"])


def test_scales_follow_training_only_and_are_saved(tmp_path: Path) -> None:
    config = settings("sb3_ppo", "task=pendulum", "norm_obs=true", "norm_reward=true", "task.time_limit=20")
    block, notes = trained(config, [0])
    scales = block.weights["0"]
    assert scales["observations"]["mean"].shape == (3,)
    # Two environments, counted once at the reset and once a step; VecNormalize begins at 1e-4. Evaluation adds none.
    assert float(scales["observations"]["count"]) == pytest.approx(192 + 2 + 1e-4)
    assert float(scales["rewards"]["count"]) == pytest.approx(192 + 1e-4)
    assert max(row["return"] for row in notes.evaluations) < -20  # raw: scaled rewards would be near -1 a step
    block.save_policy(tmp_path / "policy.zip")
    _, saved = archive.read(tmp_path / "policy.zip")
    assert torch.equal(saved["0"]["rewards"]["variance"], scales["rewards"]["variance"])
    model = load_peer(tmp_path / "policy.zip", config, 0)
    final = [{"step": 200, **row} for row in evaluate_peer(model, make(config.task), 0, 2, 2)]
    assert final == [row for row in notes.evaluations if row["step"] == 200]


def test_saved_policies_hold_nothing_to_execute_and_act_as_trained(tmp_path: Path) -> None:
    config = settings("sb3_ppo")
    block, _ = trained(config)
    block.save_policy(tmp_path / "policy.zip")
    with zipfile.ZipFile(tmp_path / "policy.zip") as saved:
        assert json.loads(saved.read("model.json"))["class"] == "stable_baselines3.PPO"
    _, loaded = archive.read(tmp_path / "policy.zip")  # with weights_only
    model = load_peer(tmp_path / "policy.zip", config, 1)
    assert type(model) is PPO
    for name, value in model.policy.state_dict().items():
        assert torch.equal(value, loaded["1"]["policy"][name])
    with pytest.raises(UserError, match="has no seed 7: it holds 0, 1"):
        load_peer(tmp_path / "policy.zip", config, 7)
    block.save_checkpoint(tmp_path / "checkpoint.pt")
    states = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    model.set_parameters(states["1"])
    assert model.policy.optimizer.state_dict()["state"][0]["step"] == 6  # three batches of 64, two epochs
    with pytest.raises(UserError, match="has format peer 1"):
        PolicyGradient.load(tmp_path / "policy.zip")


def test_a_record_repeats_bit_for_bit_and_is_a_reference_line_in_tables(tmp_path: Path) -> None:
    where = (f"results={tmp_path}", "wandb=disabled", "study.name=mine", "seeds=2", "task=weekly_exam")
    path = execute.run(settings("sb3_ppo", *where, "sample_solved=true"))
    assert rerun(path).agrees == dict.fromkeys(("curves.parquet", "episodes.parquet", "training.parquet"), True)
    overrides = ("budget=256", "evaluation.points=2", "evaluation.episodes=2", "group.size=4")
    execute.run(bench.compose([*overrides, *where]))
    runs, evaluations, training = load("mine", tmp_path)
    assert set(runs["algorithm"]) == {"sb3_ppo", "policy_gradient"}
    assert runs.loc[runs["arm"] == "sb3_ppo", "baseline"].isna().all()
    assert (evaluations["algorithm"] == "sb3_ppo").any()
    assert training.loc[training["arm"] == "sb3_ppo", "train/value_loss"].notna().all()
    records = dataclasses.replace(read(["mine"], tmp_path), control="critic-gae-clip")
    (compared,) = comparisons.against_control(records)
    assert compared.row.text == "reference line: algorithm=sb3_ppo, the control's is policy_gradient"
    assert compared.row.word is None
    assert compared.row.p is None


def on_id(id: str) -> Config:
    """A small cell of SB3's PPO on an id."""
    config = settings("sb3_ppo", "task=gym")
    return dataclasses.replace(config, task=dataclasses.replace(config.task, knobs={"id": id}, time_limit=None))


@pytest.mark.parametrize("name", ["pays nan", "pays inf", "pays too much", "observes nan", "starts at nan"])
def test_what_is_not_finite_fails_a_peers_seed_like_ours(name: str) -> None:
    env, outcome = ZOO[name]
    with registered(env) as id:
        block, notes = trained(on_id(id))
    for found in block.outcomes.values():
        assert found.status == "failed"
        assert found.cause is not None
        assert found.cause.startswith(f"task.id={id}: {outcome.fails}")
    assert notes.evaluations == []


@pytest.mark.parametrize(
    "name", ["sound", "aliased", "info is text", "info lies", "pays an array", "truncates early", "picky"]
)
def test_a_peer_trains_where_we_do(name: str) -> None:
    with registered(ZOO[name][0]) as id:
        block, _ = trained(on_id(id))
    assert [found.status for found in block.outcomes.values()] == ["done", "done"]


@pytest.mark.parametrize("place", ["training", "evaluation"])
@pytest.mark.parametrize("trap", TRAPS)
def test_only_the_seed_of_a_peer_that_meets_it_fails(monkeypatch: pytest.MonkeyPatch, trap: str, place: str) -> None:
    does, cause = TRAPS[trap]
    monkeypatch.setattr(Trap, "trap", staticmethod(does))
    monkeypatch.setattr(Trap, "seeds", {peer_seed(1)} if place == "training" else first_resets(1, 1, 0))
    with registered(Trap) as id:
        block, notes = trained(on_id(id))
    assert block.outcomes[0].status == "done"
    assert block.outcomes[1].status == "failed"
    told = str(block.outcomes[1].cause)
    assert told.startswith(f"task.id={id}: ")
    assert cause in told
    assert told.endswith(f" at step 2 of an episode in {place}")
    assert all(np.isfinite(row["return"]) for row in notes.evaluations)
