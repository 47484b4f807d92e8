"""Libraries' algorithms: recorded and judged like arms, disturbed by nothing, refused in one line."""

import dataclasses
import functools
import inspect
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
from stable_baselines3.common.callbacks import BaseCallback

import bench
from analysis.claims import comparisons
from analysis.load import load
from bench.commands.rerun import rerun
from bench.config.identity import cell_hash
from bench.config.schema import Config
from bench.errors import UserError
from bench.execution import execute
from bench.learner import PolicyGradient, archive
from bench.learner.evaluate import evaluate
from bench.peers import train as peers
from bench.tasks.cartpole import CartPole
from bench.tasks.registry import gymnasium_env, make
from tests.learner.probes import Notes

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
        if self.seed == peers.peer_seed(1) and self.num_timesteps > 64:
            raise RuntimeError("this seed breaks\nwith details nobody needs")
        if self.seed == peers.peer_seed(2) and self.num_timesteps > 128:
            self.policy.value_net.bias.data.fill_(torch.nan)


class Elsewhere:
    """Not of SB3's interface."""


@functools.cache
def composed(*overrides: str) -> Config:
    return bench.compose(overrides)


def settings(name: str, *overrides: str) -> Config:
    return composed(f"algorithm={name}", *SMALL, *PEERS[name], *overrides)


def trained(config: Config, seeds: Sequence[int] = (0, 1)) -> tuple[peers.TrainedPeers, Notes]:
    notes = Notes()
    return peers.train(config, seeds, notes), notes


def weights(block: peers.TrainedPeers, seed: int) -> torch.Tensor:
    return torch.cat([value.flatten() for value in block.weights[str(seed)]["policy"].values()])


@pytest.mark.parametrize(
    ("name", "task"),
    [*((name, "weekly_exam") for name in PEERS), ("sb3_ppo", "cartpole"), ("sb3_a2c", "pendulum")],
)
def test_a_peer_leaves_what_an_arm_leaves(name: str, task: str) -> None:
    overrides = ("task.time_limit=20",) if task != "weekly_exam" else ()
    block, notes = trained(settings(name, f"task={task}", *overrides))
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
    monkeypatch.setattr(peers, "MOST_ROWS", 2)
    _, notes = trained(settings("sb3_a2c"), [0])
    assert [row["step"] for row in notes.updates] == [120, 200]  # updates every 40 steps, rows every 100 at most


def test_the_same_policy_plays_the_same_episodes_as_ours() -> None:
    """One of our replicas, and the stock SB3 model made of it, in the evaluation environments of one place."""
    ours = PolicyGradient(env="Pendulum-v1", seeds=[4, 5])
    task = peers.make(bench.compose(["task=pendulum"]).task)
    expected = evaluate(ours.policy.acting(), task, ours.seeds, 7, 3)
    found = peers.evaluate(ours.replica(1), task, 5, 7, 3)
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

    def spy(model: BaseAlgorithm, _task: object, _seed: int, place: int, *_: object) -> list[dict[str, Any]]:
        judged[place] = flat(model)
        return [{"seed": 0, "mode": "deterministic", "return": 0.0}]

    original = PPO.train

    def train_and_look(self: PPO) -> None:
        after.append(flat(self))
        original(self)

    monkeypatch.setattr(peers, "evaluate", spy)
    monkeypatch.setattr(PPO, "train", train_and_look)
    trained(settings("sb3_ppo", "budget=256", "evaluation.points=8"), [0])  # grid 0, 32, 64, …, 256
    updates_before = {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 5: 2, 6: 3, 7: 3}
    for place, updates in updates_before.items():
        assert torch.equal(judged[place], after[updates])
    assert not any(torch.equal(judged[8], earlier) for earlier in after)  # 256 is judged after the last update


def test_a_failing_seed_is_marked_and_the_others_go_on() -> None:
    target = "algorithm._target_=tests.learner.test_peers:Breaks"
    small = ("+algorithm.parameters.n_steps=64", "+algorithm.parameters.batch_size=32")
    block, notes = trained(composed("algorithm=library", target, *small, *SMALL), [0, 1, 2, 3])
    assert [outcome.status for outcome in block.outcomes.values()] == ["done", "failed", "failed", "done"]
    assert block.outcomes[1].cause == "RuntimeError: this seed breaks"
    assert (block.outcomes[1].env_steps, block.outcomes[1].updates) == (128, 1)
    assert block.outcomes[2].cause == "the weights were not finite at the end"
    assert {row["seed"] for row in notes.evaluations if row["step"] == 200} == {0, 2, 3}
    assert "1" not in block.weights


def test_seeds_are_far_apart() -> None:
    found = sorted(peers.peer_seed(seed, pool) for seed in range(200) for pool in ("main", "tuning"))
    assert min(np.diff(found)) > 100  # SB3 seeds the environments of one seed with the integers from it on
    assert 0 <= found[0] < found[-1] < 2**31


def test_environments_are_gymnasiums_and_time_limits_are_told_as_sb3_expects() -> None:
    assert gymnasium_env(CartPole()).unwrapped.spec.id == "CartPole-v1"
    _, log = peers.build(settings("sb3_ppo", "task.time_limit=5"), CartPole(5), 0)
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
    model = peers.load(tmp_path / "policy.zip", config, 0)
    final = [{"step": 200, **row} for row in peers.evaluate(model, peers.make(config.task), 0, 2, 2)]
    assert final == [row for row in notes.evaluations if row["step"] == 200]


def test_saved_policies_hold_nothing_to_execute_and_act_as_trained(tmp_path: Path) -> None:
    config = settings("sb3_ppo")
    block, _ = trained(config)
    block.save_policy(tmp_path / "policy.zip")
    with zipfile.ZipFile(tmp_path / "policy.zip") as saved:
        assert json.loads(saved.read("model.json"))["class"] == "stable_baselines3.PPO"
    _, loaded = archive.read(tmp_path / "policy.zip")  # with weights_only
    model = peers.load(tmp_path / "policy.zip", config, 1)
    assert type(model) is PPO
    for name, value in model.policy.state_dict().items():
        assert torch.equal(value, loaded["1"]["policy"][name])
    with pytest.raises(UserError, match="has no seed 7: it holds 0, 1"):
        peers.load(tmp_path / "policy.zip", config, 7)
    block.save_checkpoint(tmp_path / "checkpoint.pt")
    states = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    model.set_parameters(states["1"])
    assert model.policy.optimizer.state_dict()["state"][0]["step"] == 6  # three batches of 64, two passes of one part
    with pytest.raises(UserError, match="has format peer 1"):
        PolicyGradient.load(tmp_path / "policy.zip")


@pytest.mark.parametrize("name", ["sb3_ppo", "sb3_a2c", "contrib_trpo", "contrib_ars"])
def test_the_files_of_conf_hold_the_librarys_defaults(name: str) -> None:
    config = bench.compose([f"algorithm={name}"])
    signature = inspect.signature(peers.library_class(config)).parameters
    left_out = {"rollout_buffer_class", "rollout_buffer_kwargs", "stats_window_size", "tensorboard_log", "verbose"}
    left_out |= {"env", "seed", "device", "_init_setup_model"}
    assert set(config.algorithm.parameters) == set(signature) - left_out
    for key, value in config.algorithm.parameters.items():
        if key not in ("policy", "gamma"):  # which policy must be said, and the task's γ is the suite's
            assert value == signature[key].default


@pytest.mark.parametrize(
    "override", ["baseline=group", "hidden=[32,32]", "learning_rate=1", "group.size=4", "update=vanilla", "name=mine"]
)
def test_a_peers_hash_leaves_out_what_it_does_not_read(override: str) -> None:
    assert cell_hash(bench.compose(["algorithm=sb3_ppo", override])) == cell_hash(composed("algorithm=sb3_ppo"))


@pytest.mark.parametrize(
    "override",
    ["algorithm.parameters.n_steps=64", "algorithm.n_envs=2", "gamma=0.9", "budget=50000", "seed_pool=tuning",
     "task=acrobot", "norm_obs=true", "task.time_limit=400", "evaluation.points=10"],
)  # fmt: skip
def test_a_peers_hash_covers_what_it_reads(override: str) -> None:
    assert cell_hash(bench.compose(["algorithm=sb3_ppo", override])) != cell_hash(composed("algorithm=sb3_ppo"))


def test_gamma_counts_for_a_peer_without_one_only_where_rewards_are_scaled() -> None:
    def hashes(*overrides: str) -> set[str]:
        return {cell_hash(bench.compose(["algorithm=contrib_ars", f"gamma={g}", *overrides])) for g in (0.9, 0.99)}

    assert len(hashes()) == 1
    assert len(hashes("norm_reward=true")) == 2


PARITY = ("preset=ppo", "grad_clip=joint", "critic.target=same", "algorithm=sb3_ppo", "algorithm.parameters=matched")


def test_matched_settings_are_those_of_the_arm() -> None:
    config = bench.compose([*PARITY, "task=pendulum", "hidden=[64,32]", "gae_lambda=0.8", "name=null"])
    assert config.algorithm.n_envs == 8
    assert config.algorithm.parameters == {
        "policy": "MlpPolicy", "learning_rate": 1e-3, "n_steps": 128, "batch_size": 256, "n_epochs": 10, "gamma": 0.9,
        "gae_lambda": 0.8, "clip_range": 0.2, "normalize_advantage": True, "ent_coef": 0.0, "vf_coef": 0.5,
        "max_grad_norm": 0.5, "policy_kwargs": {"net_arch": {"pi": [64, 32], "vf": [64, 32]}},
    }  # fmt: skip
    noise = ("exploration=sde", "exploration.sample_freq=4", "exploration.log_std_init=-2")
    parameters = bench.compose([*PARITY, "task=pendulum", *noise]).algorithm.parameters
    assert (parameters["use_sde"], parameters["sde_sample_freq"], parameters["policy_kwargs"]["log_std_init"]) == (
        True, 4, -2.0,
    )  # fmt: skip
    assert config.arm_name == "sb3_ppo"
    assert bench.compose([*PARITY]).arm_name == "sb3_ppo-ppo"  # a preset's name does not hide whose learner it is


def test_annealed_rates_are_those_of_the_arm() -> None:
    """Batch after batch, at the same share of the budget: 4 of 1024 steps, and 904 that no batch takes."""
    annealed = ("learning_rate_schedule=linear", "clip_range_schedule=linear", "budget=5000", "seeds=1")
    config = bench.compose([*PARITY, *annealed])
    assert config.algorithm.parameters["learning_rate"] == "lin_0.001"
    assert config.algorithm.parameters["clip_range"] == "lin_0.2"
    model, _ = peers.build(config, make(config.task), 0)
    found: list[tuple[float, float]] = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:  # what the last update was made with
            if self.model._n_updates:
                logged = self.logger.name_to_value
                found.append((logged["train/learning_rate"], logged["train/clip_range"]))

    model.learn(5000, Watch(), log_interval=10**9)
    left = [1 - 1024 * batch / 5000 for batch in (1, 2, 3, 4)]
    np.testing.assert_allclose(found[:4], [[1e-3 * share, 0.2 * share] for share in left], rtol=1e-9)
    ours = PolicyGradient(env="CartPole-v1", arm=dataclasses.replace(config, algorithm=bench.compose().algorithm))
    ours._total_timesteps = 5000
    for steps, rates in zip((1024, 2048, 3072, 4096), found, strict=False):
        ours.env_steps = [steps]
        expected = ours._rates()
        np.testing.assert_allclose([expected.actor[0, 0], float(expected.clip_range)], rates, rtol=1e-6)


REFUSALS = [
    (["algorithm=sb3_pop"], "; did you mean 'sb3_ppo'?"),
    (["algorithm=library"], "algorithm=library: which class? Give algorithm._target_=package.module:Class"),
    (["algorithm=library", "algorithm._target_=DQN"], "_target_=DQN: must be a class as package.module:Class"),
    (["algorithm=library", "algorithm._target_=no_such:DQN"], "cannot import no_such (No module named 'no_such')"),
    (["algorithm=library", "algorithm._target_=stable_baselines3:DQM"], "has no DQM; did you mean 'DQN'?"),
    (["algorithm=library", "algorithm._target_=tests.learner.test_peers:Elsewhere"], "must be a subclass of stable_"),
    (["algorithm=library", "algorithm._target_=os.path:join"], "must be a subclass of stable_baselines3's"),
    (["algorithm._target_=stable_baselines3:DQN"], "that is a class of its own; use algorithm=library"),
    (["algorithm=sb3_a2c", "algorithm.parameters=matched"], "only sb3_ppo has an equal arm"),
    (["algorithm=sb3_ppo", "algorithm.parameters=mached"], "must be a mapping of keyword arguments, or matched"),
    (["algorithm=sb3_ppo", "algorithm.parameters.n_step=3"], "did you mean 'n_steps'?"),
    (["algorithm=sb3_ppo", "+algorithm.parameters.n_step=3"], "has no such argument; did you mean 'n_steps'?"),
    (["algorithm=sb3_ppo", "+algorithm.parameters.seed=3"], "algorithm.parameters.seed: is set by the suite"),
    (["algorithm=sb3_ppo", "algorithm.parameters.batch_size=1"], "stable_baselines3.PPO refuses these settings ("),
    (["algorithm=library", "algorithm._target_=stable_baselines3:DQN", "task=pendulum"], "DQN refuses these settings"),
    (["algorithm=sb3_ppo", "algorithm.n_envs=0"], "algorithm.n_envs=0: must be at least 1"),
    (["algorithm=sb3_ppo", "budget=2000"], "budget=2000: not one batch of 2048 steps fits; use at least 2048"),
    (["algorithm.n_envs=4"], "they belong to the algorithms of libraries; use algorithm=sb3_ppo"),
    ([*PARITY, "algorithm.n_envs=4"], "algorithm.n_envs=4 with algorithm.parameters=matched: the arm has 8"),
    ([*PARITY, "grad_clip=separate"], "grad_clip=separate with algorithm.parameters=matched"),
    ([*PARITY, "truncation=end"], "truncation=end with algorithm.parameters=matched"),
    (["algorithm=sb3_ppo", "algorithm.parameters.learning_rate=cos_0.1"], "=cos_0.1: must be a number, or lin_"),
    ([*PARITY, "update.minibatches=3", "critic.minibatches=3"], "equal parts, and 1024 steps have no 3"),
    ([*PARITY, "collect=episodes"], "collect=episodes with algorithm.parameters=matched"),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "message"), REFUSALS, ids=[" ".join(given) for given, _ in REFUSALS])
def test_a_mistake_is_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as refused:
        bench.compose(overrides)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_record_repeats_bit_for_bit_and_is_a_reference_line_in_tables(tmp_path: Path) -> None:
    place = (f"results={tmp_path}", "wandb=disabled", "study.name=mine", "seeds=2", "task=weekly_exam")
    path = execute.run(settings("sb3_ppo", *place))
    assert rerun(path).agrees == {"evaluations.parquet": True, "training.parquet": True}
    overrides = ("budget=256", "evaluation.points=2", "evaluation.episodes=2", "group.size=4")
    execute.run(bench.compose([*overrides, *place]))
    runs, evaluations, training = load("mine", tmp_path)
    assert set(runs["algorithm"]) == {"sb3_ppo", "policy_gradient"}
    assert runs.loc[runs["arm"] == "sb3_ppo", "baseline"].isna().all()
    assert (evaluations["algorithm"] == "sb3_ppo").any()
    assert training.loc[training["arm"] == "sb3_ppo", "train/value_loss"].notna().all()
    (row,) = comparisons.against_control(runs, "critic-gae-clip").to_dict("records")
    assert row["reason"] == "reference line: algorithm=sb3_ppo, the control's is policy_gradient"
    assert np.isnan(row["p"])
