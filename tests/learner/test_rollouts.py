"""Rollouts in a world where every number can be said beforehand."""

import torch

from bench.learner.rollout import Collector, Rollout
from bench.seeding import stream
from bench.tasks.batched import BatchedEnv
from tests.learner.probes import Corridor, Matching, actor

SEEDS = (3, 8)


def collector(task: Corridor | Matching, n_envs: int = 4) -> Collector:
    return Collector(BatchedEnv(task, SEEDS, n_envs), [stream(seed, "action") for seed in SEEDS])


def always(*_: object) -> bool:
    return True


def segment(task: Corridor, n_steps: int) -> Rollout:
    c = collector(task)
    c.env.restart()
    rollout = c.segments(actor(2), n_steps, always)
    assert rollout is not None
    return rollout


def test_segments_see_true_successors_before_any_reset() -> None:
    rollout = segment(Corridor(length=5, time_limit=3), 16)
    places = rollout.observations[:, 0]  # (S, R, N)
    finals = int(rollout.truncated.sum(0).max())
    assert rollout.observations.shape == (2, 1, 16 + 1 + finals, 4)
    now = places[:, :16].permute(1, 0, 2)
    following = places.permute(1, 0, 2).gather(0, rollout.successor)
    ended = rollout.terminated
    torch.testing.assert_close(following[~ended], now[~ended] + 1)  # also where the time limit reset the environment
    torch.testing.assert_close(rollout.rewards, now + 1)
    assert bool((rollout.terminated == (now + 1 >= 5)).all())
    assert rollout.truncated.sum() > 5
    assert not bool((rollout.terminated & rollout.truncated).any())


def test_segments_go_on_where_they_stopped() -> None:
    c = collector(Corridor(length=100, time_limit=None))
    c.env.restart()
    first, second = c.segments(actor(2), 7, always), c.segments(actor(2), 7, always)
    assert first is not None
    assert second is not None
    assert torch.equal(second.observations[:, 0, 0], first.observations[:, 0, 7])
    assert first.env_steps == second.env_steps == [28, 28]


def test_whole_episodes_mark_who_waits() -> None:
    c = collector(Corridor(length=5, time_limit=None))
    rollout = c.whole_episodes(actor(2), 1, always)
    assert rollout is not None
    starts = rollout.observations[:, 0, 0]  # (S, N)
    lengths = (5 - starts).to(torch.int64)
    assert torch.equal(rollout.live.sum(0), lengths)
    assert rollout.env_steps == lengths.sum(1).tolist()
    assert torch.equal(rollout.terminated.sum(0), torch.ones_like(lengths))
    assert float(rollout.rewards[~rollout.live].abs().sum()) == 0.0
    for replica, episodes in enumerate(rollout.episodes):
        # The return of an episode of n steps that ends in place 5 is 5 + 4 + … = Σ.
        expected = sorted((float(sum(range(int(s) + 1, 6))), 5 - int(s)) for s in starts[replica])
        assert sorted(episodes) == expected


def test_groups_share_their_start_and_nothing_else() -> None:
    c = collector(Matching(steps=20), n_envs=6)
    rollout = c.whole_episodes(actor(2), 3, always)
    assert rollout is not None
    starts = rollout.observations[:, 0, 0].unflatten(1, (2, 3))
    assert torch.equal(starts, starts[:, :, :1].expand_as(starts))
    later = rollout.observations[:, 0, 1:].flatten(2)
    assert not torch.equal(later[:, :, 0], later[:, :, 1])
    assert not torch.equal(rollout.actions[:, :, 0], rollout.actions[:, :, 1])


def test_a_stopped_collection_gives_nothing() -> None:
    c = collector(Corridor())
    c.env.restart()
    assert c.segments(actor(2), 5, lambda *_: False) is None
    assert c.whole_episodes(actor(2), 1, lambda *_: False) is None


def test_a_replica_does_the_same_alone_and_among_others() -> None:
    """Left alone, with its streams shared, a replica goes on as it would have in company."""
    both, alone = collector(Matching(steps=3)), collector(Matching(steps=3)).select([1])
    policies = actor(2, weights=1.0)
    both.env.restart()
    alone.env.restart()
    for _ in range(2):
        whole, part = both.segments(policies, 10, always), alone.segments(policies.select([1]), 10, always)
        assert whole is not None
        assert part is not None
        for name in ("observations", "actions"):
            assert torch.equal(getattr(whole, name)[1], getattr(part, name)[0])
        assert torch.equal(whole.rewards[:, 1], part.rewards[:, 0])
