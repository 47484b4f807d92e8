"""What Stable-Baselines3's users do with a model; tests/test_pages.py follows docs/sb3.md, which tells them how."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    ConvertCallback,
    EvalCallback,
    EveryNTimesteps,
    LogEveryNTimesteps,
    ProgressBarCallback,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.evaluation import evaluate_policy

from bench.errors import UserError
from bench.learner import PolicyGradient
from bench.learner.export import replica_state
from bench.tasks.batched import BatchedEnv
from bench.tasks.vec_env import BatchedVecEnv
from tests.learner.habits import habit
from tests.learner.probes import SEGMENTS, ActionReward, Corridor, Matching, learner, settings

STEPS = 64  # of one seed in one batch of `SEGMENTS`


def matching(seeds: list[int], n_envs: int = 4) -> BatchedVecEnv:
    return BatchedVecEnv(BatchedEnv(Matching(steps=4), seeds, n_envs))


@pytest.fixture
def model() -> PolicyGradient:
    """Two seeds that have learned nothing yet."""
    return learner(Matching(steps=4), settings(*SEGMENTS), [4, 9])


def test_predict_answers_in_the_shape_of_the_question(model: PolicyGradient) -> None:
    for share in (1, 3):
        actions, state = model.predict(np.zeros((2 * share, 1), np.float32))
        assert actions.shape == (2 * share,)
        assert state is None
    with pytest.raises(UserError, match=r"1 observations for 2 replicas: give a multiple"):
        model.predict(np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="shape"):
        model.predict(np.zeros((2, 3), np.float32))


def test_a_model_of_one_seed_takes_a_single_observation() -> None:
    alone = learner(Matching(steps=4), settings(*SEGMENTS), [4])
    action, _ = alone.predict(np.zeros(1, np.float32), deterministic=True)
    assert action.shape == ()
    assert alone.predict(np.zeros((5, 1), np.float32))[0].shape == (5,)


def test_learning_on_is_learning_at_a_stretch() -> None:
    """Two calls without a reset give the weights, and the episodes, of one."""
    task = Matching(steps=5)  # episodes run on from one call into the next
    whole = learner(task, settings(*SEGMENTS), [4, 9]).learn(2 * STEPS)
    model = learner(task, settings(*SEGMENTS), [4, 9])
    model.learn(STEPS + 6)  # no second batch fits
    model.learn(STEPS, reset_num_timesteps=False)
    assert model.num_timesteps == whole.num_timesteps == 2 * STEPS
    for name, weights in whole.policy.state_dict().items():
        assert torch.equal(weights, model.policy.state_dict()[name])
    assert [row["rollout/ep_rew_mean"] for row in model.latest] == [row["rollout/ep_rew_mean"] for row in whole.latest]


class Remember(BaseCallback):
    """Keeps what every step showed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int, int]] = []
        self.episodes: list[tuple[float, int]] = []

    def _on_step(self) -> bool:
        self.seen.append((self.num_timesteps, len(self.locals["rewards"]), len(self.locals["infos"])))
        self.episodes += [(i["episode"]["r"], i["episode"]["l"]) for i in self.locals["infos"] if "episode" in i]
        return True


@habit(
    "callbacks",
    "a list, `CallbackList`, `ConvertCallback`, `EveryNTimesteps`, `LogEveryNTimesteps`",
    "works",
    "steps are those of one seed",
)
def test_callbacks_see_steps_of_one_seed_and_environments_of_all(model: PolicyGradient) -> None:
    remember, calls = Remember(), []
    every = EveryNTimesteps(32, ConvertCallback(lambda *_: calls.append(1) or True))
    model.learn(2 * STEPS, callback=CallbackList([remember, every, LogEveryNTimesteps(32)]))
    assert remember.seen == [(4 * step, 8, 8) for step in range(1, 33)]  # 4 environments per seed, 8 in all
    assert len(calls) == 4
    assert len(remember.episodes) == 2 * 2 * STEPS / 4
    assert {length for _, length in remember.episodes} == {4}


@habit(
    "callbacks",
    "`learn(…, progress_bar=True)`",
    "works",
    "the bar counts the steps of one seed; a `ProgressBarCallback` of your own adds up those of all",
)
@pytest.mark.parametrize(
    "given", [None, [Remember()], Remember(), lambda *_: True], ids=["none", "list", "one", "function"]
)
def test_the_progress_bar_counts_the_steps_of_one_seed(
    model: PolicyGradient, given: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[tuple[float, float]] = []
    original = ProgressBarCallback._on_training_end

    def look(self: ProgressBarCallback) -> None:
        ends.append((self.pbar.n, self.pbar.total))
        original(self)

    monkeypatch.setattr(ProgressBarCallback, "_on_training_end", look)
    model.learn(2 * STEPS, callback=given, progress_bar=True)
    assert ends == [(2 * STEPS, 2 * STEPS)]


@habit("callbacks", "`CheckpointCallback`", "works", "all seeds in one file of the suite's format")
def test_checkpoints_are_models(model: PolicyGradient, tmp_path: Path) -> None:
    model.learn(STEPS, callback=CheckpointCallback(16, str(tmp_path), "all"))
    (path,) = tmp_path.iterdir()
    assert PolicyGradient.load(path).seeds == (4, 9)


@habit(
    "callbacks",
    "`EvalCallback`, with `StopTrainingOnRewardThreshold` or `StopTrainingOnNoModelImprovement`",
    "differs",
    "judges the mean of all seeds; the best model is the best of the block",
)
@pytest.mark.parametrize("kind", ["plain", "threshold", "no improvement"])
def test_evaluation_callbacks_judge_the_block(kind: str, tmp_path: Path) -> None:
    """The reward of this world is at most 1, and both seeds reach it."""
    model = learner(ActionReward(), settings(*SEGMENTS, "learning_rate=0.03"), [0, 1])
    judge = BatchedVecEnv(BatchedEnv(ActionReward(), [50, 51], 3))
    callback = EvalCallback(
        judge, eval_freq=16, n_eval_episodes=6, best_model_save_path=str(tmp_path), log_path=str(tmp_path), verbose=0,
        callback_on_new_best=StopTrainingOnRewardThreshold(0.99, verbose=0) if kind == "threshold" else None,
        callback_after_eval=StopTrainingOnNoModelImprovement(1, verbose=0) if kind == "no improvement" else None,
    )  # fmt: skip
    model.learn(20 * STEPS, callback=callback)
    assert callback.best_mean_reward == 1.0
    assert PolicyGradient.load(tmp_path / "best_model.zip").seeds == (0, 1)
    assert (model.num_timesteps < 20 * STEPS) == (kind != "plain")


def test_training_stops_after_the_episodes_of_all_environments(model: PolicyGradient) -> None:
    """`max_episodes` per environment, 8 environments, episodes of 4 steps: after 12 steps of each."""
    model.learn(100 * STEPS, callback=StopTrainingOnMaxEpisodes(max_episodes=3))
    assert model.num_timesteps == 3 * 4 * 4


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (Path.write_text, (self.path, "boom"))


@pytest.mark.parametrize("entry", ["weights.pt", "data", "policy.pth", "pytorch_variables.pth"])
def test_loading_executes_nothing(model: PolicyGradient, tmp_path: Path, entry: str) -> None:
    """A pickle among the weights is refused; one under the names of SB3's own files is not looked at."""
    model.save(tmp_path / "model.zip")
    content = io.BytesIO()
    torch.save({"actor": {"parameters": Bomb(tmp_path / "proof")}}, content)
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files[entry] = content.getvalue() if entry == "weights.pt" else pickle.dumps(Bomb(tmp_path / "proof"))
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    if entry == "weights.pt":
        with pytest.raises(UserError, match=r"bad\.zip is not a saved model"):
            PolicyGradient.load(tmp_path / "bad.zip")
    else:
        assert PolicyGradient.load(tmp_path / "bad.zip").seeds == (4, 9)
    assert not (tmp_path / "proof").exists()
    torch.load(io.BytesIO(content.getvalue()), weights_only=False)
    assert (tmp_path / "proof").exists(), "the bomb should be live"


def test_a_stock_file_is_refused(model: PolicyGradient, tmp_path: Path) -> None:
    model.replica(0).save(tmp_path / "stock")
    with pytest.raises(UserError, match="is not a saved model"):
        PolicyGradient.load(tmp_path / "stock")


@habit("copies and files", "`model.replica(i)` saved, loaded and trained on by `PPO`", "works")
def test_a_replica_goes_on_learning_as_a_stock_ppo(tmp_path: Path) -> None:
    """Begun here, saved, loaded and finished by SB3: from half of the rewards to nearly all."""
    begun = learner(ActionReward(), settings(*SEGMENTS), [0, 1]).learn(STEPS)
    stock = begun.replica(1)
    assert stock.num_timesteps == STEPS
    stock.save(tmp_path / "stock")
    venv = BatchedVecEnv(BatchedEnv(ActionReward(), [7], 4))
    again = PPO.load(tmp_path / "stock", env=venv, n_steps=16, batch_size=64, learning_rate=0.01)
    before = again.policy.state_dict()["action_net.bias"].clone()
    again.learn(20 * STEPS)
    assert not torch.equal(before, again.policy.state_dict()["action_net.bias"])
    assert evaluate_policy(again, venv, n_eval_episodes=50, deterministic=False)[0] > 0.9
    assert replica_state(begun.policy, 1)["action_net.bias"].tolist() == before.tolist(), "the model keeps its own"


def test_replicas_that_stopped_at_different_times_go_on_together() -> None:
    """Episodes of different lengths use up a budget at different times; a callback may stop in between."""
    model = learner(Corridor(length=9, time_limit=8), settings("gamma=0.9", "hidden=[32,32]"), list(range(6)))

    class StopAtTheFirstToLeave(BaseCallback):
        def _on_step(self) -> bool:
            return len(model.active) == 6

    model.learn(300, callback=StopAtTheFirstToLeave())
    assert 0 < len(model.active) < 6
    updates = list(model.updates)
    model.learn(300, reset_num_timesteps=False)
    assert all(after > before for after, before in zip(model.updates, updates, strict=True))
