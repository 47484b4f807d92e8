"""Group advantages against enumerated expectations, closed forms and hand-made examples."""

import itertools
import math

import pytest
import torch

from bench.arms.baselines import comparisons, dead_groups, group_advantage, process_advantage, vine_value
from bench.arms.returns import monte_carlo_return

# Exam question with two answers: p, G → true gradient, then the expected gradient of each variant, and P(dead).
TABLE = {
    (0.1, 4): (0.0900, 0.1521, 0.1317, 0.0675, 0.0900, 0.6562),
    (0.1, 8): (0.0900, 0.2095, 0.1960, 0.0788, 0.0900, 0.4305),
    (0.3, 8): (0.2100, 0.4122, 0.3856, 0.1837, 0.2100, 0.0577),
    (0.5, 8): (0.2500, 0.4639, 0.4340, 0.2188, 0.2500, 0.0078),
    (0.9, 64): (0.0900, 0.2929, 0.2906, 0.0886, 0.0900, 0.0012),
}


def expected_gradient(p: float, size: int, **options: object) -> float:
    """Σ_K P(K right of G) · mean_i A_i ∂log π(a_i): the derivative of the logit is x_i − p."""
    total = 0.0
    for right in range(size + 1):
        rewards = torch.tensor([1.0] * right + [0.0] * (size - right), dtype=torch.float64)
        advantages = group_advantage(rewards, eps=0.0, **options)  # type: ignore[arg-type]
        probability = math.comb(size, right) * p**right * (1 - p) ** (size - right)
        total += probability * float((advantages * (rewards - p)).mean())
    return total


@pytest.mark.parametrize(("p", "size"), TABLE)
def test_expected_gradients_of_the_two_answer_exam(p: float, size: int) -> None:
    true, grpo, grpo_ddof, group, rloo, dead = TABLE[p, size]
    assert p * (1 - p) == pytest.approx(true, abs=5e-5)
    assert expected_gradient(p, size, scale="std") == pytest.approx(grpo, abs=5e-5)
    assert expected_gradient(p, size, scale="std", ddof=1) == pytest.approx(grpo_ddof, abs=5e-5)
    assert expected_gradient(p, size) == pytest.approx(group, abs=5e-5)
    assert expected_gradient(p, size, leave_one_out=True) == pytest.approx(rloo, abs=5e-5)
    assert p**size + (1 - p) ** size == pytest.approx(dead, abs=5e-5)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.7])
@pytest.mark.parametrize("size", [2, 3, 8])
def test_closed_forms(p: float, size: int) -> None:
    binomial = [math.comb(size, k) * p**k * (1 - p) ** (size - k) for k in range(size + 1)]
    grpo = sum(b * math.sqrt(k * (size - k)) for k, b in enumerate(binomial)) / size
    assert expected_gradient(p, size, scale="std") == pytest.approx(grpo, abs=1e-12)
    assert expected_gradient(p, size) == pytest.approx((1 - 1 / size) * p * (1 - p), abs=1e-12)
    assert expected_gradient(p, size, leave_one_out=True) == pytest.approx(p * (1 - p), abs=1e-12)


def test_hand_made_group() -> None:
    returns = [1.0, 2.0, 6.0]  # mean 3, deviations −2 −1 3, population variance 14/3
    assert group_advantage(returns).tolist() == [-2.0, -1.0, 3.0]
    assert group_advantage(returns, leave_one_out=True).tolist() == [-3.0, -1.5, 4.5]  # 1 − 4, 2 − 3.5, 6 − 1.5
    assert group_advantage(returns, scale="rank").tolist() == [-1.0, 0.0, 1.0]
    expected = torch.tensor([-2.0, -1.0, 3.0]) / math.sqrt(14 / 3)
    torch.testing.assert_close(group_advantage(returns, scale="std"), expected)
    expected = torch.tensor([-2.0, -1.0, 3.0]) / math.sqrt(14 / 2)
    torch.testing.assert_close(group_advantage(returns, scale="std", ddof=1), expected)


def test_leave_one_out_is_a_multiple_of_the_group_mean() -> None:
    returns = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(group_advantage(returns, leave_one_out=True), 5 / 4 * group_advantage(returns))


def test_ranks_are_leave_one_out_on_binary_rewards() -> None:
    rewards = torch.tensor([[1, 0, 0, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(group_advantage(rewards, scale="rank"), group_advantage(rewards, leave_one_out=True))


@pytest.mark.parametrize("scale", ["none", "std", "rank"])
def test_a_dead_group_teaches_nothing(scale: str) -> None:
    returns = torch.full((2, 7), 0.1 * 3)  # a number whose mean over seven is not exactly itself
    returns[1] = torch.arange(7)
    advantages = group_advantage(returns, scale=scale)  # type: ignore[arg-type]
    assert dead_groups(returns).tolist() == [True, False]
    assert advantages[0].tolist() == [0.0] * 7
    assert advantages[1].abs().max() > 0.5


@pytest.mark.parametrize("scale", ["none", "std", "rank"])
@pytest.mark.parametrize("leave_one_out", [False, True])
def test_a_constant_added_to_all_rewards_changes_nothing(scale: str, leave_one_out: bool) -> None:
    if scale == "rank" and leave_one_out:
        return
    returns = torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    options = {"scale": scale, "leave_one_out": leave_one_out}
    torch.testing.assert_close(group_advantage(returns + 10, **options), group_advantage(returns, **options))  # type: ignore[arg-type]


def test_a_group_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="group of 1"):
        group_advantage([[1.0], [2.0]])
    with pytest.raises(ValueError, match="rank"):
        group_advantage([1.0, 2.0], scale="rank", leave_one_out=True)


def test_process_supervision_standardises_step_rewards_and_sums_them_to_go() -> None:
    # two members of 2 and 1 steps: step rewards 1, 2 and 3, mean 2, variance 2/3
    rewards = torch.tensor([[1.0, 3.0], [2.0, 0.0]])
    live = torch.tensor([[True, True], [True, False]])
    unit = math.sqrt(3 / 2)
    expected = torch.tensor([[-unit + 0, unit], [0.0, 0.0]])
    torch.testing.assert_close(process_advantage(rewards, live), expected)
    torch.testing.assert_close(process_advantage(rewards, live, ddof=1)[0], torch.tensor([-1.0, 1.0]))


def test_process_supervision_says_nothing_where_every_step_earns_the_same() -> None:
    live = torch.tensor([[True, True, True], [True, False, True], [False, False, True]])
    rewards = torch.where(live, 0.1, 0.0)  # as on CartPole and MountainCar: three lengths, one reward
    assert process_advantage(rewards, live).tolist() == torch.zeros(3, 3).tolist()


def test_a_restored_value_is_carried_along_its_episode() -> None:
    rewards, restored = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([10.0, torch.nan, 4.0, torch.nan])
    # b_1 = (10 − 1) / ½; b_3 = (4 − 3) / ½
    assert vine_value(rewards, restored, every=2, gamma=0.5).tolist() == [10.0, 18.0, 4.0, 2.0]
    # b_3 = (10 − 1 − ½·2 − ¼·3) / ⅛
    assert vine_value(rewards, restored, every=4, gamma=0.5)[3].item() == pytest.approx((10 - 1 - 1 - 0.75) * 8)


def test_a_path_that_earns_just_its_restored_value_has_no_advantage() -> None:
    rewards = torch.rand(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends = torch.zeros(9, 3, dtype=torch.bool)
    returns = monte_carlo_return(rewards, ends, ends, gamma=0.9)
    torch.testing.assert_close(vine_value(rewards, returns, every=4, gamma=0.9), returns)


def right(difference: float, temperature: float) -> float:
    """The probability that a comparison is right."""
    return 1 / (1 + math.exp(-abs(difference) / temperature))


def test_a_comparator_by_hand() -> None:
    """Of 1, 2 and 6: 0 beats 1 with probability σ(−½) = .378, 0 beats 2 with σ(−2½) = .076, 1 beats 2 with .119."""
    returns, options = torch.tensor([1.0, 2.0, 6.0]), {"scale": "rank", "temperature": 2.0}
    assert 1 - right(1, 2) == pytest.approx(0.378, abs=5e-4)
    assert 1 - right(5, 2) == pytest.approx(0.076, abs=5e-4)
    assert 1 - right(4, 2) == pytest.approx(0.119, abs=5e-4)
    for uniform, expected in [
        ([0.378, 0.077, 0.120], [-1.0, 0.0, 1.0]),  # all are right: the rank
        ([0.377, 0.077, 0.120], [0.0, -1.0, 1.0]),  # 0 beats 1
        ([0.378, 0.075, 0.120], [0.0, 0.0, 0.0]),  # 0 beats 2, 1 beats 0, 2 beats 1
        ([0.377, 0.075, 0.119], [1.0, 0.0, -1.0]),  # all are wrong
    ]:
        drawn = torch.tensor(uniform, dtype=torch.float64)
        assert group_advantage(returns, uniform=drawn, **options).tolist() == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 7.0])
@pytest.mark.parametrize("returns", [[1.0, 2.0, 6.0, 2.0], [0.0, -1.5, 0.25, 3.0], [5.0, 5.0, 5.0, 5.0], [1.0, -1.0]])
def test_the_expected_comparison_is_a_hyperbolic_tangent(returns: list[float], temperature: float) -> None:
    """Of all outcomes of all pairs, each with its probability; ties count 0."""
    pairs = list(itertools.combinations(range(len(returns)), 2))
    expected = torch.zeros(len(returns), dtype=torch.float64)
    for outcome in itertools.product([True, False], repeat=len(pairs)):  # whether the better one wins
        probability, drawn = 1.0, []
        for (i, j), is_right in zip(pairs, outcome, strict=True):
            gap = returns[i] - returns[j]
            probability *= right(gap, temperature) if is_right else 1 - right(gap, temperature)
            drawn.append(0.0 if is_right == (gap > 0) else 1 - 2**-53)  # the first wins, or loses
        values = torch.tensor(returns, dtype=torch.float64)
        uniform = torch.tensor(drawn, dtype=torch.float64)
        expected += probability * group_advantage(values, "rank", temperature=temperature, uniform=uniform)
    for i, own in enumerate(returns):
        closed = sum(math.tanh((own - other) / (2 * temperature)) for other in returns) / (len(returns) - 1)
        assert float(expected[i]) == pytest.approx(closed, abs=1e-12)


@pytest.mark.parametrize("gap", [-3.0, -0.1, 0.1, 1.0, 40.0])
def test_a_comparison_is_right_as_often_as_it_says(gap: float) -> None:
    """Over a grid of 100,000 numbers, which a threshold divides to one of them."""
    grid = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    won = comparisons(torch.tensor([[gap, 0.0]], dtype=torch.float64).expand(100_000, 2), 1.3, grid[:, None])[:, 0, 1]
    assert float((won == math.copysign(1, gap)).double().mean()) == pytest.approx(right(gap, 1.3), abs=1.001e-5)


def test_one_comparison_of_each_pair_of_which_one_wins_what_the_other_loses() -> None:
    generator = torch.Generator().manual_seed(0)
    returns = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    uniform = torch.rand(50, 15, generator=generator, dtype=torch.float64)
    found = comparisons(returns, 0.8, uniform)
    assert torch.equal(found, -found.transpose(-1, -2))
    assert torch.equal(found.abs(), (1 - torch.eye(6, dtype=torch.float64)).expand(50, 6, 6))
    share_won = (found > 0).double().sum(-1) / 5  # the advantage is twice the share won, less one
    torch.testing.assert_close(group_advantage(returns, "rank", temperature=0.8, uniform=uniform), 2 * share_won - 1)
    assert not torch.equal(found, comparisons(returns))


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 1e-9])
def test_a_comparator_of_temperature_0_ranks(temperature: float) -> None:
    """To the bit, whatever is drawn, ties and differences of every size included."""
    generator = torch.Generator().manual_seed(0)
    returns = torch.tensor([[0.0, 1e-6, -5.0, 1e300, 0.0], [3.0, 3.0, 3.0, 3.0, 3.0], [1.0, 2.0, -1.0, 0.5, 9.0]])
    for uniform in (torch.zeros(10), torch.full((10,), 1 - 2**-53, dtype=torch.float64)):
        for dtype in (torch.float32, torch.float64):
            given = returns.to(dtype).clamp(max=torch.finfo(dtype).max)
            ranked = group_advantage(given, "rank", temperature=temperature, uniform=uniform.double())
            assert torch.equal(ranked, group_advantage(given, "rank"))
    returns = torch.randn(1000, 5, generator=generator, dtype=torch.float64)
    uniform = torch.rand(1000, 10, generator=generator, dtype=torch.float64)
    ranked = group_advantage(returns, "rank", temperature=temperature, uniform=uniform)
    assert torch.equal(ranked, group_advantage(returns, "rank"))


@pytest.mark.parametrize("temperature", [math.inf, 1e300])
def test_a_comparator_of_infinite_temperature_knows_nothing(temperature: float) -> None:
    """Each of the 64 outcomes is as likely as every other, and what comes of it does not depend on the returns."""
    uniform = torch.tensor(list(itertools.product([0.25, 0.75], repeat=6)), dtype=torch.float64)
    found = [
        group_advantage(torch.tensor(returns).expand(64, 4), "rank", temperature=temperature, uniform=uniform)
        for returns in ([1.0, 2.0, 3.0, 4.0], [9.0, -1.0, 1e9, 0.0])
    ]
    assert torch.equal(*found)
    assert found[0].abs().sum() > 0
    torch.testing.assert_close(found[0].mean(0), torch.zeros(4), rtol=0, atol=1e-7)


@pytest.mark.parametrize("temperature", [0.0, 0.5, math.inf])
def test_a_comparator_says_nothing_of_a_dead_group_and_hides_no_nan(temperature: float) -> None:
    uniform = torch.tensor([0.1, 0.9, 0.4], dtype=torch.float64)
    options = {"scale": "rank", "temperature": temperature, "uniform": uniform}
    assert group_advantage([0.1, 0.1 + 1e-17, 0.1], **options).tolist() == [0.0, 0.0, 0.0]  # type: ignore[arg-type]
    assert bool(group_advantage([0.1, math.nan, 0.2], **options).isnan().all())  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_a_comparator_shrinks_the_two_answer_gradient(temperature: float) -> None:
    """On rewards of 0 and 1 the expected gradient is tanh(1/(2 temperature)) times that of ranks, p(1 − p)."""
    p, size, total = 0.3, 4, 0.0
    pairs = size * (size - 1) // 2
    for rewards in itertools.product([0.0, 1.0], repeat=size):
        for wins in itertools.product([0.0, 0.999], repeat=pairs):
            values, uniform = torch.tensor(rewards, dtype=torch.float64), torch.tensor(wins, dtype=torch.float64)
            probability = math.prod(p if reward else 1 - p for reward in rewards)
            for (i, j), u in zip(itertools.combinations(range(size), 2), wins, strict=True):
                first = 1 / (1 + math.exp(-(rewards[i] - rewards[j]) / temperature))
                probability *= first if u == 0 else 1 - first
            advantages = group_advantage(values, "rank", temperature=temperature, uniform=uniform)
            total += probability * float((advantages * (values - p)).mean())
    assert total == pytest.approx(math.tanh(0.5 / temperature) * p * (1 - p), abs=1e-12)
