"""`learn`, what callbacks see of it, and what is logged, as Stable-Baselines3's users know them."""

import json
import math
import warnings
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pandas
import pytest
import torch
from stable_baselines3.common import logger as sb3_logger
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnMaxEpisodes,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import HParam, Logger, configure

import bench
from bench.errors import RunWarning
from bench.learner import PolicyGradient
from bench.learner.rollout import EpisodeCounter
from tests.learner.habits import BATCH, Count, habit, refused, small
from tests.learner.probes import Corridor, Matching, learner, settings

LIMITED = "CartPole-v1"


class Look(BaseCallback):
    """Keeps what every step showed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Any]] = []

    def _on_step(self) -> bool:
        self.seen.append({name: self.locals[name] for name in ("actions", "new_obs", "rewards", "dones", "infos")})
        return True

    def column(self, name: str) -> np.ndarray:
        return np.stack([step[name] for step in self.seen])


# --- learn


@habit("training", "`learn(100_000)`", "differs", "steps of each seed; `num_timesteps` counts them so")
def test_learn_counts_the_steps_of_each_seed() -> None:
    model = small(seeds=3).learn(4 * BATCH)
    assert (model.num_timesteps, model.env_steps, model.updates) == (4 * BATCH, [4 * BATCH] * 3, [4] * 3)


@habit(
    "training",
    "a budget that whole batches do not fill",
    "differs",
    "a batch that might not fit is not begun: SB3 goes over it",
)
def test_the_budget_is_never_exceeded() -> None:
    assert small().learn(4 * BATCH - 1).num_timesteps == 3 * BATCH


@habit(
    "training", "`learn` with a budget that no batch fits", "refused", "with the steps it takes, as on the command line"
)
def test_a_budget_that_no_batch_fits() -> None:
    model = small().learn(BATCH)
    with refused(
        rf"total_timesteps={BATCH - 1}: not one batch fits, which takes up to {BATCH} steps.*at least {BATCH},"
    ):
        model.learn(BATCH - 1)
    with refused("total_timesteps=4000: not one batch fits, which takes up to 8000 steps .*at least 8000"):
        PolicyGradient(env="CartPole-v1").learn(4000)
    assert model.num_timesteps == BATCH, "a refusal changes nothing"
    model.learn(BATCH, reset_num_timesteps=False)
    assert model.num_timesteps == 2 * BATCH


def test_a_continued_budget_that_no_batch_fits() -> None:
    model = small().learn(BATCH)
    with refused(f"total_timesteps=5: not one batch fits.*give at least {BATCH},"):
        model.learn(5, reset_num_timesteps=False)
    broken = small()
    broken.learn(BATCH, callback=StopAfter(4))
    assert (broken.num_timesteps, broken.env_steps) == (8, [0, 0])  # four steps of two environments, not learned from
    with refused("not one batch fits.*give at least 24,"):  # which end where one batch ends
        broken.learn(23, reset_num_timesteps=False)
    assert broken.learn(24, reset_num_timesteps=False).updates == [1, 1]


@habit(
    "training",
    "a budget of a few batches of whole episodes",
    "works",
    "less than half of it used is warned of: a batch might take all of an episode's limit",
)
def test_a_budget_that_is_hardly_used() -> None:
    with pytest.warns(RunWarning, match=r"learn\(8000\): \d+ steps were used; a batch takes up to 8000 steps"):
        model = PolicyGradient(env="CartPole-v1").learn(8000)
    assert model.updates == [1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PolicyGradient(env="CartPole-v1").learn(17_000)
        PolicyGradient(env="CartPole-v1").learn(8000, log_interval=None)
        small().learn(BATCH)
        small().learn(10 * BATCH, callback=StopAfter(3))


@habit("training", "`learn(1e5)`", "works", "`1.5`, `0`, `-1` and text are refused")
def test_the_number_of_steps() -> None:
    assert small().learn(1e2).num_timesteps == 3 * BATCH  # type: ignore[arg-type]
    assert small().learn(np.int64(100)).num_timesteps == 3 * BATCH  # type: ignore[arg-type]
    for given in (1.5, 0, -1, "100", float("nan"), float("inf"), True):
        with refused("total_timesteps=.*must be a whole number of at least 1"):
            small().learn(given)  # type: ignore[arg-type]


@habit("training", "`learn(…, reset_num_timesteps=False)`", "works", "goes on in the same episodes")
@pytest.mark.parametrize("env", ["CartPole-v1", Count()], ids=["suite", "copied"])
def test_learning_on_is_learning_at_a_stretch(env: Any) -> None:
    whole, model = small(env).learn(4 * BATCH), small(env)
    for _ in range(4):
        model.learn(BATCH, reset_num_timesteps=False)
    assert (model.num_timesteps, model._n_updates) == (whole.num_timesteps, whole._n_updates)
    for name, weights in whole.policy.state_dict().items():
        assert torch.equal(weights, model.policy.state_dict()[name])


@habit("training", "`learn` without an environment, or after all seeds have failed", "refused")
def test_learning_without_what_it_takes(tmp_path: Path) -> None:
    small().save(tmp_path / "model")
    with refused("the model has no environments; give env to the constructor, to load or to set_env"):
        PolicyGradient.load(tmp_path / "model").learn(BATCH)
    model = small(seeds=[4])
    model.policy.critic.stack.flat[0] = torch.nan  # type: ignore[union-attr]
    model.learn(2 * BATCH)
    with refused(r"no seed is left to learn: seed 4 failed \(the loss was not finite in update 1\)"):
        model.learn(2 * BATCH)


@habit("training", "`ep_info_buffer`, `stats_window_size`", "works", "the last episodes of all seeds together")
def test_the_buffer_of_episodes() -> None:
    model = small(Count(length=4), stats_window_size=6).learn(BATCH)
    assert model.ep_info_buffer is not None
    assert len(model.ep_info_buffer) == 6
    assert {episode["l"] for episode in model.ep_info_buffer} == {4}
    assert all(0 <= episode["r"] <= 4 and episode["t"] >= 0 for episode in model.ep_info_buffer)
    assert len(small(Count(length=4)).learn(BATCH).ep_info_buffer) == 2 * BATCH / 4  # type: ignore[arg-type]


@habit(
    "training", "`ep_success_buffer`, an environment's own `info`", "differs", "stays empty: of `info` nothing is read"
)
def test_the_buffer_of_successes_stays_empty() -> None:
    model = small(Count(length=4)).learn(BATCH)
    assert model.ep_success_buffer is not None
    assert len(model.ep_success_buffer) == 0


@habit("training", "playing in `get_env()` between two calls of `learn`", "works", "`learn` then begins new episodes")
def test_episodes_that_others_have_played_on_are_left() -> None:
    model = small("CartPole-v1", stats_window_size=10_000).learn(BATCH)
    evaluate_policy(model, model.get_env(), n_eval_episodes=4)  # type: ignore[arg-type]
    look = Look()
    model.learn(20 * BATCH, reset_num_timesteps=False, callback=look)
    assert model.ep_info_buffer
    assert all(episode["r"] == episode["l"] for episode in model.ep_info_buffer)  # each step earns 1
    lengths = np.diff(np.flatnonzero(np.concatenate([[True], look.column("dones")[:, 0]])))
    first = [info["episode"]["l"] for step in look.seen for info in step["infos"][:1] if info]
    assert first == lengths.tolist(), "and each is counted from its beginning"


@habit(
    "training",
    "`train()`, `collect_rollouts(…)` called by hand",
    "refused",
    "`learn` does both; `on_rollout_start` and `on_rollout_end` see each batch",
)
def test_parts_of_learning_by_hand() -> None:
    model = small()
    with refused(r"train\(\): no batch has been collected since the last"):
        model.train()
    with refused("positional argument", TypeError):
        model.collect_rollouts(model.get_env(), None, None, 16)  # type: ignore[call-arg, arg-type]
    assert model.learn(BATCH).updates == [1, 1]


@habit("training", "`_n_updates`", "differs", "counts updates, SB3 epochs; `updates` has those of each seed")
def test_updates_are_counted() -> None:
    model = small(n_epochs=3).learn(4 * BATCH)
    assert (model._n_updates, model.updates) == (4, [4, 4])


@habit(
    "training",
    "`rollout_buffer`",
    "refused",
    "an `AttributeError`: there is none. `latest` has the last update's numbers",
)
def test_there_is_no_rollout_buffer() -> None:
    model = small().learn(BATCH)
    assert not hasattr(model, "rollout_buffer")
    with pytest.raises(AttributeError, match=r"rollout_buffer: there is none; model\.latest has the numbers"):
        _ = model.rollout_buffer
    assert [(row["seed"], row["step"]) for row in model.latest] == [(0, BATCH), (1, BATCH)]


# --- callbacks


@habit(
    "callbacks",
    "`self.locals`: `actions`, `new_obs`, `rewards`, `dones`, `infos`",
    "works",
    "of all environments of all seeds, replica-major; `new_obs` as after a reset",
)
def test_what_a_step_shows() -> None:
    look = Look()
    model = small(Count(length=4), seeds=2).learn(BATCH, callback=look)
    assert look.column("actions").shape == (16, 4)
    assert look.column("new_obs").shape == (16, 4, 1)
    counted = np.tile([1, 2, 3, 0], 4)  # the last step of an episode shows the next one's first observation
    assert (look.column("new_obs")[:, :, 0] == counted[:, None]).all()
    assert (look.column("dones") == (counted == 0)[:, None]).all()
    assert (look.column("rewards") == look.column("actions")).all()
    for step, seen in enumerate(look.seen):
        for column, info in enumerate(seen["infos"]):
            if not seen["dones"][column]:
                assert info == {}
                continue
            assert info["episode"]["l"] == 4
            assert info["episode"]["r"] == look.column("rewards")[step - 3 : step + 1, column].sum()
            assert info["terminal_observation"].tolist() == [4]
            assert info["TimeLimit.truncated"] is False
    assert model.observation_space.contains(look.seen[-1]["new_obs"][0].astype(np.float32))


def test_a_cut_episode_says_so() -> None:
    look = Look()
    small(gymnasium.wrappers.TimeLimit(Count(length=9), 4)).learn(BATCH, callback=look)
    assert look.seen[3]["infos"][0]["TimeLimit.truncated"] is True


def test_actions_of_a_box_are_those_of_each_environment() -> None:
    look = Look()
    small("Pendulum-v1", seeds=3).learn(BATCH, callback=look)
    assert look.column("actions").shape == (16, 6, 1)
    assert len(np.unique(look.seen[0]["actions"])) == 6


@habit(
    "callbacks",
    "… with whole episodes",
    "differs",
    "a finished environment waits for the others: its last observation, reward 0",
)
def test_finished_environments_wait() -> None:
    look, arm = Look(), bench.compose(["group.start=independent", "group.groups=2", "group.size=1", "budget=1e6"])
    PolicyGradient(env=gymnasium.wrappers.TimeLimit(Count(length=3), 9), arm=arm, seeds=1).learn(18, callback=look)
    assert look.column("dones").tolist() == [[False] * 2, [False] * 2, [True] * 2]
    corridor = learner(Corridor(length=5, time_limit=None), settings("gamma=0.9"), [0])
    corridor.batch_limit = lambda: 20  # type: ignore[method-assign]
    look = Look()
    corridor.learn(20, callback=look)
    dones = look.column("dones")
    assert (dones.sum(0) == 1).all()
    for column, last in enumerate(dones.argmax(0)):
        assert (look.column("rewards")[last + 1 :, column] == 0).all()
        assert (look.column("new_obs")[last:, column] == 5).all()


@habit("callbacks", "`self.locals`: `values`, `log_probs`, `obs_tensor`, `clipped_actions`", "differs", "are not there")
def test_what_a_step_does_not_show() -> None:
    look = Look()
    small().learn(BATCH, callback=look)
    assert {"values", "log_probs", "obs_tensor", "clipped_actions"}.isdisjoint(look.locals)


@habit(
    "callbacks",
    "`self.model`, `.training_env`, `.num_timesteps`, `.n_calls`, `.logger`",
    "works",
    "`n_calls`: one for a step of all environments at once",
)
def test_what_a_callback_has() -> None:
    look = Look()
    model = small(seeds=3).learn(2 * BATCH, callback=look)
    assert look.model is model
    assert look.training_env is model.get_env()
    assert (look.n_calls, look.num_timesteps) == (32, 2 * BATCH)
    assert look.training_env.num_envs == 6
    assert isinstance(look.logger, Logger)


@habit("callbacks", "children of callbacks share `locals`", "works")
def test_children_see_the_same() -> None:
    child, other = Look(), Look()
    event = EveryNTimesteps(BATCH, child)
    small().learn(2 * BATCH, callback=CallbackList([event, other]))
    assert len(child.seen) == 2
    assert child.locals["new_obs"] is other.locals["new_obs"] is event.locals["new_obs"]


@habit("callbacks", "a function `f(locals, globals)`", "works", "`locals['self']` is the model")
def test_a_function_as_callback() -> None:
    seen: list[Any] = []
    model = small()
    model.learn(BATCH, callback=lambda variables, _: seen.append(variables["self"]) or len(seen) < 5)  # type: ignore[func-returns-value]
    assert len(seen) == 5
    assert all(each is model for each in seen)


class StopAfter(BaseCallback):
    """Stops the training in its n-th step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def _on_step(self) -> bool:
        return self.n_calls < self.steps


@habit(
    "callbacks", "one that stops the training", "works", "for all seeds; the batch it breaks off is not learned from"
)
@pytest.mark.parametrize("steps", [2, 4, 5])
def test_after_a_stop_one_can_go_on(steps: int) -> None:
    """Also where it comes with the end of an episode, and in mid-episode: no episode is longer than it can be."""
    look = Look()
    model = small(Count(length=4))
    model.learn(BATCH, callback=StopAfter(steps))
    assert model.updates == [0, 0]
    model.learn(BATCH, reset_num_timesteps=False, callback=look)
    ended = [info["episode"] for step in look.seen for info in step["infos"] if info]
    assert {episode["l"] for episode in ended} == {4}
    assert model.updates == [1, 1]


def test_after_a_stop_whole_episodes_begin_anew() -> None:
    model = learner(Matching(steps=4), settings("hidden=[32,32]"), [0, 1])
    model.learn(64, callback=StopAfter(2))
    look = Look()
    model.learn(16, reset_num_timesteps=False, callback=look)
    ended = [info["episode"] for step in look.seen for info in step["infos"] if info]
    assert {episode["l"] for episode in ended} == {4}
    assert max(episode["r"] for episode in ended) <= 4
    assert isinstance(model.collector.counter, EpisodeCounter)


@habit("callbacks", "`StopTrainingOnMaxEpisodes`", "works", "counts the episodes of all environments of all seeds")
def test_stopping_after_so_many_episodes() -> None:
    stop = StopTrainingOnMaxEpisodes(max_episodes=1)
    model = small(Count(length=5), seeds=2).learn(10 * BATCH, callback=stop)
    assert (stop.n_episodes, model.num_timesteps) == (4, 5 * 2)


@habit(
    "callbacks",
    "`EvalCallback(gym.make(…))`",
    "works",
    "with one seed; for several give as many environments for each, else it is refused",
)
def test_evaluation_in_other_environments() -> None:
    alone = small(Count(length=4), seeds=1)
    callback = EvalCallback(Count(length=4), eval_freq=8, n_eval_episodes=2, verbose=0, warn=False)
    alone.learn(BATCH, callback=callback)
    assert 0 <= callback.best_mean_reward <= 4
    with refused(r"1 observations for 2 replicas: give a multiple, replica-major, or use \.replica\(i\)"):
        small(Count(length=4), seeds=2).learn(
            BATCH, callback=EvalCallback(Count(length=4), eval_freq=8, verbose=0, warn=False)
        )


class Fails(BaseCallback):
    """Raises in its third step."""

    def _on_step(self) -> bool:
        if self.n_calls == 3:
            raise KeyError("mine")
        return True


@habit("callbacks", "one that raises", "works", "the error reaches the caller; the model can learn on")
def test_a_callback_that_raises() -> None:
    model = small(Count())
    with pytest.raises(KeyError, match="mine"):
        model.learn(BATCH, callback=Fails())
    assert model.learn(BATCH).updates == [1, 1]


class Notes(BaseCallback):
    """Writes the model's attributes down, as W&B's callback does."""

    def _on_training_start(self) -> None:
        self.noted = {name: str(thing) for name, thing in vars(self.model).items()}

    def _on_step(self) -> bool:
        return True


@habit("callbacks", "one that writes down all attributes of the model, as W&B's", "works")
def test_all_attributes_can_be_shown() -> None:
    notes = Notes()
    small().learn(BATCH, callback=notes)
    assert {"gamma", "learning_rate", "n_steps", "arm", "seeds", "policy"} <= notes.noted.keys()


# --- logs


class Keeping(Logger):
    """Keeps what is dumped."""

    def dump(self, step: int = 0) -> None:  # noqa: ARG002 - SB3's signature
        self.kept = {**getattr(self, "kept", {}), **self.name_to_value}


@habit("logs", '`set_logger(configure(folder, ["csv", "json", "log"]))`', "works", "numbers are means over the seeds")
def test_logs_in_files(tmp_path: Path) -> None:
    model = small(Count(length=4), seeds=3)
    model.set_logger(configure(str(tmp_path), ["csv", "json", "log"]))
    model.learn(3 * BATCH)
    table = pandas.read_csv(tmp_path / "progress.csv")
    assert table["time/total_timesteps"].tolist() == [BATCH, 2 * BATCH, 3 * BATCH]
    assert table["rollout/ep_len_mean"].tolist() == [4, 4, 4], "the batch just collected, from the first line on"
    assert math.isnan(table["train/value_loss"][0]), "an update is logged with the next batch, as in SB3"
    assert table["train/value_loss"][1:].notna().all()
    rows = [json.loads(line) for line in (tmp_path / "progress.json").read_text().splitlines()]
    assert [row["time/iterations"] for row in rows] == [1, 2, 3]
    model.learn(BATCH, reset_num_timesteps=False)
    assert model.logger.dir == str(tmp_path), "it stays"


@habit(
    "logs",
    "`logger.name_to_value` after `learn`",
    "works",
    "SB3's names where it has one: `train/approx_kl`, `train/value_loss`, …",
)
def test_what_is_left_in_the_logger() -> None:
    logger = Logger(None, [])
    model = small(Count(length=4), seeds=2)
    model.set_logger(logger)
    model.learn(2 * BATCH)
    mean = np.mean([row["train/value_loss"] for row in model.latest])
    assert logger.name_to_value["train/value_loss"] == pytest.approx(mean)
    assert {"train/approx_kl", "train/clip_fraction", "train/entropy_loss", "train/explained_variance"} <= set(
        logger.name_to_value
    )
    assert logger.name_to_value["train/n_updates"] == 2
    assert logger.name_to_value["train/learning_rate"] == pytest.approx(1e-3)


@habit("logs", "`time/fps`, `time/total_timesteps`", "differs", "steps of one seed")
def test_speed_is_that_of_one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = Keeping(None, [])
    model = small(seeds=3)
    model.set_logger(logger)
    monkeypatch.setattr("time.time_ns", lambda: 42)  # no time passes: nothing is divided by 0
    model.learn(BATCH)
    assert logger.kept["time/total_timesteps"] == BATCH
    assert logger.kept["time/fps"] > 0


@habit("logs", "`verbose=1`", "works", "`verbose=0` writes nothing, and makes no folder")
def test_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    small(verbose=1).learn(BATCH)
    shown = capsys.readouterr().out
    assert "Using cpu device" in shown
    assert "total_timesteps | 32" in shown
    silent = small(verbose=0).learn(BATCH)
    assert capsys.readouterr().out == ""
    assert silent.logger.dir is None


@habit("logs", "`log_interval=2`", "works", "`None`: nothing is logged")
def test_the_interval_of_logs(tmp_path: Path) -> None:
    model = small()
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(5 * BATCH, log_interval=2)
    assert pandas.read_csv(tmp_path / "progress.csv")["time/iterations"].tolist() == [2, 4]


class Writer:
    """Stands in for TensorBoard's, which need not be installed."""

    made: ClassVar[list["Writer"]] = []

    def __init__(self, log_dir: str) -> None:
        self.log_dir, self.scalars, self.others = log_dir, [], []
        Path(log_dir).mkdir(parents=True, exist_ok=True)
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _get_file_writer(self) -> Any:
        return self

    def add_summary(self, summary: Any) -> None:
        self.others.append(summary)


class Settings(BaseCallback):
    """Writes settings for TensorBoard's page of hyperparameters, as SB3's documentation shows."""

    def _on_training_start(self) -> None:
        given = {
            "algorithm": type(self.model).__name__,
            "learning rate": self.model.learning_rate,
            "gamma": self.model.gamma,
        }  # type: ignore[attr-defined]
        wanted = {"rollout/ep_len_mean": 0.0, "train/value_loss": 0.0}
        self.logger.record("hparams", HParam(given, wanted), exclude=("stdout", "log", "json", "csv"))  # type: ignore[arg-type]

    def _on_step(self) -> bool:
        return True


@habit(
    "logs",
    "`tensorboard_log=`, `tb_log_name=`",
    "works",
    "one curve, the mean over seeds; a folder for each run, as in SB3",
)
def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sb3_logger, "SummaryWriter", Writer)
    monkeypatch.setattr("stable_baselines3.common.utils.SummaryWriter", Writer)
    Writer.made = []
    model = small(Count(length=4), tensorboard_log=str(tmp_path)).learn(2 * BATCH)
    model.learn(BATCH, reset_num_timesteps=False)
    model.learn(BATCH, tb_log_name="mine")
    model.learn(BATCH, tb_log_name="mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["PolicyGradient_1", "mine_1", "mine_2"]
    lengths = [(value, step) for name, value, step in Writer.made[0].scalars if name == "rollout/ep_len_mean"]
    assert lengths == [(4.0, BATCH), (4.0, 2 * BATCH)]


@habit("logs", "`tensorboard_log=` where TensorBoard is not installed", "refused", "by SB3, when `learn` begins")
def test_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stable_baselines3.common.utils.SummaryWriter", None)
    with refused("tensorboard is not installed", ImportError):
        small(tensorboard_log=str(tmp_path)).learn(BATCH)


@habit("logs", "a callback that records `HParam`", "works")
def test_settings_are_recorded() -> None:
    logger = Keeping(None, [])
    model = small(gamma=0.9)
    model.set_logger(logger)
    model.learn(BATCH, callback=Settings())
    recorded: Any = logger.kept["hparams"]
    assert recorded.hparam_dict == {"algorithm": "PolicyGradient", "learning rate": 1e-3, "gamma": 0.9}
