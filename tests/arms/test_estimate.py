"""Advantages of whole batches: every baseline × target, with episodes of different lengths and ends."""

import dataclasses

import pytest
import torch

import bench
from bench.arms.advantage import (
    Batch,
    advantage,
    critic_target,
    dead_group_fraction,
    episode_returns,
    lone_survivor_fraction,
    wrong_comparison_fraction,
)
from bench.arms.numbers import Numbers
from bench.config.schema import Arm
from bench.errors import UserError

T, S, N = 4, 2, 4  # two groups of two
LENGTHS = torch.tensor([[4, 2, 3, 1], [1, 1, 4, 2]])


def arm(*overrides: str, gamma: float = 0.5) -> Arm:
    return bench.compose([f"gamma={gamma}", "group.groups=2", "group.size=2", "aggregate=step", *overrides])


@pytest.fixture
def batch() -> Batch:
    """Complete episodes of `LENGTHS` steps; that of replica 0's environment 0 ends by the time limit."""
    generator = torch.Generator().manual_seed(3)
    live = torch.arange(T).view(T, 1, 1) < LENGTHS
    last = torch.arange(T).view(T, 1, 1) == LENGTHS - 1
    truncated = torch.zeros_like(last)
    truncated[3, 0, 0] = True
    values = torch.randn(T + 1, S, N, generator=generator, dtype=torch.float64)
    rewards = torch.randn(T, S, N, generator=generator, dtype=torch.float64) * live
    return Batch(rewards, last & ~truncated, truncated, live, values[:-1], values[1:])


def discounted(batch: Batch, t: int, replica: int, env: int, gamma: float = 0.5) -> float:
    return sum(gamma**k * float(batch.rewards[t + k, replica, env]) for k in range(T - t))


def test_none_is_the_target_itself_and_waiting_environments_count_for_nothing(batch: Batch) -> None:
    result = advantage(batch, arm("baseline=none", "advantage=monte_carlo"))
    for t, replica, env in torch.cartesian_prod(torch.arange(T), torch.arange(S), torch.arange(N)).tolist():
        expected = discounted(batch, t, replica, env) if t < LENGTHS[replica, env] else 0.0
        assert float(result[t, replica, env]) == pytest.approx(expected, abs=1e-12)


def test_batch_mean_averages_live_steps_of_one_replica(batch: Batch) -> None:
    result = advantage(batch, arm("baseline=batch_mean", "advantage=monte_carlo"))
    plain = advantage(batch, arm("baseline=none", "advantage=monte_carlo"))
    for replica in range(S):
        live = batch.live[:, replica]
        expected = plain[:, replica][live] - plain[:, replica][live].mean()
        torch.testing.assert_close(result[:, replica][live], expected)
        assert float(result[:, replica][~live].abs().sum()) == 0.0


def test_critic_and_bootstrap_are_two_jobs(batch: Batch) -> None:
    """critic + td0 is the TD residual; none + td0 only bootstraps; the difference is V(s_t)."""
    residual = advantage(batch, arm("baseline=critic", "advantage=td0"))
    bootstrapped = advantage(batch, arm("baseline=none", "advantage=td0"))
    assert batch.values is not None
    torch.testing.assert_close((bootstrapped - residual)[batch.live], batch.values[batch.live])


def test_truncation_end_and_bootstrap_differ_exactly_where_the_time_limit_hit(batch: Batch) -> None:
    end = advantage(batch, arm("advantage=td0"))
    bootstrap = advantage(batch, arm("advantage=td0", "truncation=bootstrap"))
    assert batch.next_values is not None
    difference = bootstrap - end
    assert float(difference[3, 0, 0]) == pytest.approx(0.5 * float(batch.next_values[3, 0, 0]))
    difference[3, 0, 0] = 0
    assert float(difference.abs().sum()) == 0.0


def test_group_reward_to_go_counts_finished_members_as_zero(batch: Batch) -> None:
    result = advantage(batch, arm("baseline=group", "advantage=monte_carlo"))
    # Replica 0, group 0: environment 0 lasts 4 steps, environment 1 only 2. At t = 3 the survivor is compared with 0.
    alone = discounted(batch, 3, 0, 0)
    assert float(result[3, 0, 0]) == pytest.approx(alone - alone / 2)
    both = discounted(batch, 1, 0, 0), discounted(batch, 1, 0, 1)
    assert float(result[1, 0, 1]) == pytest.approx(both[1] - sum(both) / 2)
    assert float(result[3, 0, 1]) == 0.0


def test_leave_one_out_never_divides_by_zero(batch: Batch) -> None:
    result = advantage(batch, arm("baseline=rloo", "advantage=monte_carlo"))
    assert float(result[3, 0, 0]) == pytest.approx(discounted(batch, 3, 0, 0))  # the other counts as 0
    group = advantage(batch, arm("baseline=group", "advantage=monte_carlo"))
    torch.testing.assert_close(result, 2 * group)  # G/(G − 1) with G = 2


def test_alive_only_compares_with_the_living_and_a_lone_survivor_with_nobody(batch: Batch) -> None:
    overrides = ("advantage=monte_carlo", "group.alive_only=true")
    group, rloo = (advantage(batch, arm(f"baseline={name}", *overrides)) for name in ("group", "rloo"))
    both = discounted(batch, 1, 0, 0), discounted(batch, 1, 0, 1)
    assert float(group[1, 0, 0]) == pytest.approx((both[0] - both[1]) / 2)
    assert float(rloo[1, 0, 0]) == pytest.approx(both[0] - both[1])
    assert float(group[3, 0, 0]) == float(rloo[3, 0, 0]) == 0.0
    # Replica 0: of 10 steps, 2 (episode 0 outlives 1) and 2 (episode 2 outlives 3) are a lone survivor's.
    assert lone_survivor_fraction(batch, arm("baseline=group")).tolist() == pytest.approx([4 / 10, 2 / 8])


def test_ranks_compare_targets_step_by_step(batch: Batch) -> None:
    result = advantage(batch, arm("baseline=group", "advantage=monte_carlo", "group.scale=rank"))
    larger = discounted(batch, 1, 0, 0) > discounted(batch, 1, 0, 1)
    assert result[1, 0, :2].tolist() == ([1.0, -1.0] if larger else [-1.0, 1.0])


def test_time_mean_is_the_group_of_all_episodes_with_independent_starts(batch: Batch) -> None:
    one_group = ("group.groups=1", f"group.size={N}", "group.start=independent", "advantage=monte_carlo")
    time_mean = advantage(batch, arm("baseline=time_mean", *one_group))
    assert torch.equal(time_mean, advantage(batch, arm("baseline=group", *one_group)))
    targets = advantage(batch, arm("baseline=none", "advantage=monte_carlo"))
    for t in range(T):
        mean = sum(discounted(batch, t, 0, env) for env in range(N)) / N
        live = batch.live[t, 0]
        torch.testing.assert_close(time_mean[t, 0][live], targets[t, 0][live] - mean)


def test_outcome_credit_gives_every_step_of_an_episode_the_same(batch: Batch) -> None:
    result = advantage(batch, arm("baseline=grpo", "advantage=monte_carlo", "group.credit=outcome"))
    returns = [discounted(batch, 0, 1, env) for env in range(N)]
    for pair in ((0, 1), (2, 3)):
        mean = (returns[pair[0]] + returns[pair[1]]) / 2
        std = abs(returns[pair[0]] - returns[pair[1]]) / 2
        for env in pair:
            live = result[: LENGTHS[1, env], 1, env]
            assert live.tolist() == pytest.approx([(returns[env] - mean) / std] * len(live), rel=1e-6)


def test_grpo_divides_reward_to_go_by_one_scalar_per_group(batch: Batch) -> None:
    result = advantage(batch, arm("baseline=grpo", "advantage=monte_carlo"))
    plain = advantage(batch, arm("baseline=group", "advantage=monte_carlo"))
    std = abs(discounted(batch, 0, 0, 0) - discounted(batch, 0, 0, 1)) / 2
    torch.testing.assert_close(result[:, 0, :2], plain[:, 0, :2] / (std + 1e-8))


def test_dead_groups_are_counted_and_teach_nothing(batch: Batch) -> None:
    rewards = batch.rewards.clone()
    rewards[:, 1, :2] = 0.0
    dead = dataclasses.replace(batch, rewards=rewards)
    settings = arm("baseline=grpo", "advantage=monte_carlo")
    assert dead_group_fraction(dead, settings).tolist() == [0.0, 0.5]
    result = advantage(dead, settings)
    assert result[:, 1, :2].tolist() == [[0.0, 0.0]] * T
    assert result.isfinite().all()


def test_grpo_with_a_bootstrap_keeps_dead_groups_at_zero(batch: Batch) -> None:
    rewards = torch.zeros_like(batch.rewards)
    result = advantage(dataclasses.replace(batch, rewards=rewards), arm("baseline=grpo", "advantage=td0"))
    assert float(result.abs().sum()) == 0.0


def test_episode_returns_use_the_tasks_discount(batch: Batch) -> None:
    assert float(episode_returns(batch, 0.5)[0, 2]) == pytest.approx(discounted(batch, 0, 0, 2))


@pytest.mark.parametrize(
    ("overrides", "same_as"),
    [
        (["critic.target=monte_carlo"], ["advantage=monte_carlo"]),
        (["critic.target=td0"], ["advantage=td0"]),
        (["critic.target=gae", "critic.gae_lambda=0.7"], ["advantage=gae", "gae_lambda=0.7"]),
        (["critic.target=same", "advantage=nstep", "n_step=2"], ["advantage=nstep", "n_step=2"]),
    ],
)
def test_the_critics_target_is_a_factor_of_its_own(batch: Batch, overrides: list[str], same_as: list[str]) -> None:
    target = critic_target(batch, arm(*overrides))
    expected = advantage(batch, arm("baseline=none", *same_as))
    torch.testing.assert_close(target, expected)


def test_the_nine_combinations_are_nine_different_advantages(batch: Batch) -> None:
    results = [
        advantage(batch, arm(f"baseline={baseline}", f"advantage={target}"))
        for baseline in ("none", "critic", "group")
        for target in ("td0", "gae", "monte_carlo")
    ]
    for i, first in enumerate(results):
        for second in results[:i]:
            assert float((first - second).abs().max()) > 1e-3


RANKS = ("baseline=group", "advantage=monte_carlo", "group.scale=rank")


def test_a_comparator_errs_step_by_step_or_once_an_episode_and_each_replica_at_its_own_temperature(
    batch: Batch,
) -> None:
    arms = [arm(*RANKS), arm(*RANKS, "group.temperature=1e9")]  # the first is always right, the second never knows
    numbers = Numbers.of(arms)
    low, high = torch.zeros(T, S, 2, 1, dtype=torch.float64), torch.full((T, S, 2, 1), 0.9, dtype=torch.float64)
    by_step = [advantage(dataclasses.replace(batch, numbers=numbers, uniform=each), arms[0]) for each in (low, high)]
    ranked = advantage(batch, arms[0])
    for result, first in zip(by_step, (1.0, -1.0), strict=True):
        assert torch.equal(result[:, 0], ranked[:, 0])
        assert result[0, 1].tolist() == [first, -first, first, -first]
        assert float(result[~batch.live].abs().sum()) == 0.0
        assert result[3, 1].tolist() == [0.0, 0.0, first, 0.0]  # its opponent has ended, and loses elsewhere
    outcome = arm(*RANKS, "group.credit=outcome", "group.temperature=1e9")
    once = advantage(dataclasses.replace(batch, uniform=torch.cat([low[:1, :1], high[:1, :1]], 1)), outcome)
    assert once[0].tolist() == [[1.0, -1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0]]
    assert torch.equal(once, torch.where(batch.live, once[:1], 0.0))


@pytest.mark.parametrize("credit", ["outcome", "reward_to_go"])
def test_the_share_of_wrong_comparisons(batch: Batch, credit: str) -> None:
    """Members of a pair differ wherever one of them lives; the first wins where 0 is drawn, and loses where .9 is."""
    never_knows = arm(*RANKS, f"group.credit={credit}", "group.temperature=1e9")
    rows = 1 if credit == "outcome" else T
    drawn = torch.tensor([0.0, 0.9]).double().expand(rows, S, 2).unsqueeze(3)  # by group: its first wins, or loses
    found = wrong_comparison_fraction(dataclasses.replace(batch, uniform=drawn), never_knows)
    for replica in range(S):
        wrong, differ = 0, 0
        for t in range(rows):
            for first, wins in ((0, True), (2, False)):
                values = [
                    discounted(batch, t, replica, env) if t < LENGTHS[replica, env] else 0.0
                    for env in (first, first + 1)
                ]
                differ += values[0] != values[1]
                wrong += values[0] != values[1] and (values[0] > values[1]) != wins
        assert float(found[replica]) == pytest.approx(wrong / differ, abs=1e-12)
        assert differ > 0
        assert credit == "outcome" or 0 < wrong < differ
    equal = dataclasses.replace(batch, uniform=drawn, rewards=torch.zeros_like(batch.rewards))
    assert bool(wrong_comparison_fraction(equal, never_knows).isnan().all())


def test_errors_that_nobody_drew_are_no_errors_but_a_refusal(batch: Batch) -> None:
    for credit in ("outcome", "reward_to_go"):
        with pytest.raises(UserError, match=r"^group\.temperature=2: this batch has no errors of comparisons"):
            advantage(batch, arm(*RANKS, f"group.credit={credit}", "group.temperature=2"))
