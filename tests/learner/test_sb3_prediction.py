"""`predict` and `evaluate_policy`, and where the numbers of chance come from."""

import random
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import set_random_seed

from bench.tasks.batched import BatchedEnv
from bench.tasks.cartpole import CartPole
from bench.tasks.vec_env import BatchedVecEnv
from tests.learner.habits import BATCH, Count, habit, refused, small

SEEN = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


@habit(
    "prediction",
    "`predict(observation)` of a single one",
    "works",
    "with one seed; with several it is refused: whose policy?",
)
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_a_single_observation(env: str) -> None:
    world = gymnasium.make(env)
    observation, _ = world.reset(seed=0)
    model = small(env, seeds=1)
    for deterministic in (True, False):
        action, state = model.predict(observation, deterministic=deterministic)
        assert state is None
        assert isinstance(action, np.ndarray)
        assert world.action_space.contains(action[()] if action.shape == () else action)
    with refused(r"1 observations for 2 replicas: give a multiple, replica-major, or use \.replica\(i\)"):
        small(env, seeds=2).predict(observation)


@habit(
    "prediction",
    "`predict(observations)` of a batch",
    "differs",
    "with S seeds the first S-th is answered by the first, and so on",
)
def test_a_batch_is_answered_replica_by_replica() -> None:
    model = small(seeds=3).learn(BATCH)
    together, _ = model.predict(SEEN, deterministic=True)
    for index in range(3):
        own = slice(2 * index, 2 * index + 2)
        assert (together[own] == model.replica(index).predict(SEEN[own], deterministic=True)[0]).all()
    with refused("5 observations for 3 replicas"):
        model.predict(SEEN[:5])


@habit(
    "prediction", "`state=`, `episode_start=`, lists instead of arrays, no observations at all", "works", "as in SB3"
)
def test_other_ways_to_ask() -> None:
    model = small(seeds=1)
    asked, _ = model.predict(SEEN, deterministic=True)
    again, state = model.predict(SEEN, None, np.ones(6, bool), True)
    assert (asked == again).all()
    assert state is None
    assert model.predict(SEEN.tolist(), deterministic=True)[0].tolist() == asked.tolist()  # type: ignore[arg-type]
    assert model.predict(SEEN[:0])[0].shape == (0,)


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "shape": (np.zeros((2, 3), np.float32), ValueError, "Unexpected observation shape"),
    "dict": ({"observation": SEEN}, AssertionError, "a dict but the obs space is Box"),
    "tuple of reset()": ((SEEN[0], {}), ValueError, "You have passed a tuple to the predict"),
}


@habit("prediction", "observations of another shape, a dict, the tuple of `reset()`", "refused", "by SB3's own errors")
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_observation(kind: str) -> None:
    given, error, words = WRONG[kind]
    with pytest.raises(error, match=words):
        small(seeds=1).predict(given)


@habit("prediction", "an observation with NaN", "refused")
def test_nan_is_no_observation() -> None:
    with refused("an observation is nan"):
        small(seeds=1).predict(np.full(4, np.nan))


@habit("prediction", "`predict(…, action_masks=…)` of sb3-contrib's `MaskablePPO`", "refused", "Python's `TypeError`")
def test_masks_are_refused() -> None:
    with refused("action_masks", TypeError):
        small(seeds=1).predict(SEEN, action_masks=np.ones(2))  # type: ignore[call-arg]


@habit(
    "prediction",
    "`evaluate_policy(model, env)`",
    "works",
    "the mean of all seeds; `env` has as many environments for each",
)
def test_evaluating_the_block() -> None:
    model = small("CartPole-v1", seeds=2).learn(4 * BATCH)
    own = BatchedVecEnv(BatchedEnv(CartPole(), [100, 101], 2))
    returns, lengths = evaluate_policy(model, own, n_eval_episodes=4, return_episode_rewards=True)
    assert returns == lengths  # each step of CartPole earns 1
    assert evaluate_policy(model, make_vec_env("CartPole-v1", n_envs=4, seed=0), n_eval_episodes=4)[0] > 1
    assert evaluate_policy(model, model.get_env(), n_eval_episodes=4)[0] > 1  # type: ignore[arg-type]
    alone = small(Count(length=4), seeds=1)
    actions, _ = alone.predict(np.arange(4, dtype=np.float32)[:, None], deterministic=True)
    found = evaluate_policy(alone, Count(length=4), n_eval_episodes=3, warn=False)
    assert found == (actions.sum(), 0.0)  # action 1 earns 1, and every episode shows 0, 1, 2, 3


@habit("prediction", "`evaluate_policy(model.replica(i), env)`", "works", "of one seed, in any environment")
def test_evaluating_one_seed() -> None:
    model = small("CartPole-v1", seeds=2).learn(BATCH)
    assert evaluate_policy(model.replica(1), gymnasium.make("CartPole-v1"), n_eval_episodes=2, warn=False)[0] > 1


# --- seeds


def weights(model: Any) -> torch.Tensor:
    return model.policy.actor.stack.flat.clone()


@habit(
    "seeds",
    "`model.set_random_seed(1)`",
    "refused",
    "all that is random follows from `seeds`; `None` does nothing, as in SB3",
)
def test_reseeding_the_model_is_refused() -> None:
    model, other = small().learn(BATCH), small().learn(BATCH)
    with refused(r"set_random_seed\(1\): all that is random follows from the model's seeds \[0, 1\]; give seeds=\[1\]"):
        model.set_random_seed(1)
    model.set_random_seed(None)
    assert torch.equal(weights(model.learn(BATCH)), weights(other.learn(BATCH))), "nothing has happened"


@habit(
    "seeds",
    "`model.get_env().seed(1)`",
    "refused",
    "while a model trains in them; environments of your own can be seeded",
)
def test_reseeding_its_environments_is_refused() -> None:
    model, other = small().learn(BATCH), small().learn(BATCH)
    env = model.get_env()
    assert env is not None
    with refused(r"seed\(1\): a model trains in these environments.*its seeds \[0, 1\]; give it seeds=\[1, 2\]"):
        env.seed(1)
    with refused("a model trains in these environments"):
        env.seed()
    assert env.seed(0) == [0, 0, 1, 1]  # its own: from the beginning again
    assert model.learn(BATCH).env_steps == other.learn(BATCH).env_steps
    model.set_env(Count(observation=model.observation_space))
    assert env.seed(1) == [1, 1, 2, 2], "they are nobody's any more"


@habit(
    "seeds",
    "`set_random_seed(1)` of SB3, `np.random.seed`, `torch.manual_seed`",
    "differs",
    "change nothing: the same seeds give the same bits",
)
def test_global_seeds_change_nothing() -> None:
    one = small("Pendulum-v1", seeds=[3, 5]).learn(2 * BATCH)
    set_random_seed(77)
    np.random.seed(78)  # noqa: NPY002 - what users do
    random.seed(79)
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index, union-attr]  # noqa: NPY002
    other = small("Pendulum-v1", seeds=[3, 5]).learn(2 * BATCH)
    assert torch.equal(weights(one), weights(other))
    observation = np.zeros((4, 3), np.float32)
    assert (one.predict(observation)[0] == other.predict(observation)[0]).all(), "drawn from the seeds' own streams"
    after = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index, union-attr]  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:], "and nobody else's stream is drawn from"


@habit(
    "seeds",
    "a seed beside other seeds",
    "differs",
    "in segments the same bits as alone: that is what lockstep may not change",
)
def test_a_seed_does_not_notice_the_others() -> None:
    beside, alone = small(seeds=[3, 5]).learn(2 * BATCH), small(seeds=[5]).learn(2 * BATCH)
    assert torch.equal(weights(beside)[1], weights(alone)[0])
    assert not torch.equal(weights(beside)[0], weights(beside)[1])
