"""Return targets against hand-made tables, identities and the closed form of their bias."""

import numpy as np
import pytest
import torch

from bench.arms.returns import lambda_return, monte_carlo_return, n_step_return

GAMMA = 0.5
REWARDS = [1.0, 2.0, 4.0]
NEXT_VALUES = [8.0, 16.0, 32.0]

# Worked out by hand: γ = ½, three steps, an event after the second. With λ = ½:
#   nothing:     G2 = 4 + ½·32 = 20;  G1 = 2 + ½(½·16 + ½·20) = 11;  G0 = 1 + ½(½·8 + ½·11) = 5.75
#   terminated:  G1 = 2;                                             G0 = 1 + ½(½·8 + ½·2) = 3.5
#   truncated:   G1 = 2 + ½·16 = 10;                                 G0 = 1 + ½(½·8 + ½·10) = 5.5
LAMBDA_TABLE = {
    (False, False): [5.75, 11.0, 20.0],
    (True, False): [3.5, 2.0, 20.0],
    (False, True): [5.5, 10.0, 20.0],
    (True, True): [3.5, 2.0, 20.0],  # Gymnasium may raise both flags: an end is an end
}
#   n = 2:  nothing:    G1 = 2 + ½·4 + ¼·32 = 12;  G0 = 1 + ½·2 + ¼·16 = 6
#           terminated: G1 = 2;                    G0 = 1 + ½·2 = 2
#           truncated:  G1 = 10;                   G0 = 1 + ½·2 + ¼·16 = 6
TWO_STEP_TABLE = {
    (False, False): [6.0, 12.0, 20.0],
    (True, False): [2.0, 2.0, 20.0],
    (False, True): [6.0, 10.0, 20.0],
    (True, True): [2.0, 2.0, 20.0],
}


def flags(terminated: bool, truncated: bool) -> tuple[list[bool], list[bool]]:
    return [False, terminated, False], [False, truncated, False]


@pytest.mark.parametrize("event", LAMBDA_TABLE)
def test_lambda_return_follows_the_hand_made_table(event: tuple[bool, bool]) -> None:
    targets = lambda_return(REWARDS, NEXT_VALUES, *flags(*event), GAMMA, 0.5)
    assert targets.tolist() == LAMBDA_TABLE[event]


@pytest.mark.parametrize("event", TWO_STEP_TABLE)
def test_two_step_return_follows_the_hand_made_table(event: tuple[bool, bool]) -> None:
    assert n_step_return(REWARDS, NEXT_VALUES, *flags(*event), GAMMA, 2).tolist() == TWO_STEP_TABLE[event]


def test_the_last_row_bootstraps_unless_it_terminated() -> None:
    ended = [False, False, True]
    never = [False] * 3
    assert lambda_return(REWARDS, NEXT_VALUES, ended, never, GAMMA, 1.0).tolist() == [3.0, 4.0, 4.0]
    assert lambda_return(REWARDS, NEXT_VALUES, never, never, GAMMA, 1.0).tolist() == [7.0, 12.0, 20.0]


@pytest.mark.parametrize(
    ("terminated", "truncated", "expected"),
    [
        ([False, False, False], [False, False, False], [3.0, 4.0, 4.0]),  # the data's end counts as an end
        ([False, True, False], [False, False, False], [2.0, 2.0, 4.0]),
        ([False, False, False], [False, True, False], [2.0, 2.0, 4.0]),
    ],
)
def test_monte_carlo_without_values_takes_every_cut_for_an_end(
    terminated: list[bool], truncated: list[bool], expected: list[float]
) -> None:
    assert monte_carlo_return(REWARDS, terminated, truncated, GAMMA).tolist() == expected


def test_monte_carlo_with_values_bootstraps_at_a_truncation_and_at_the_end() -> None:
    targets = monte_carlo_return(REWARDS, [False] * 3, [False, True, False], GAMMA, NEXT_VALUES)
    assert targets.tolist() == [1 + GAMMA * 10, 2 + GAMMA * 16, 4 + GAMMA * 32]


@pytest.fixture
def episodes() -> dict[str, torch.Tensor]:
    """Random rewards and values in trailing axes (2, 3), with both kinds of end, and V(s_t) consistent with them."""
    rng = np.random.default_rng(0)
    shape = (40, 2, 3)
    ends = rng.choice(3, size=shape, p=[0.8, 0.1, 0.1])
    values, finals = rng.normal(size=(41, 2, 3)), rng.normal(size=shape)
    next_values = np.where(ends == 0, values[1:], finals)  # after an end, row t + 1 is another episode's start
    return {
        "rewards": torch.from_numpy(rng.normal(size=shape)),
        "values": torch.from_numpy(values[:-1]),
        "next_values": torch.from_numpy(next_values),
        "terminated": torch.from_numpy(ends == 1),
        "truncated": torch.from_numpy(ends == 2),
    }


def generalised_advantage(e: dict[str, torch.Tensor], gamma: float, gae_lambda: float) -> np.ndarray:
    """Schulman's definition, literally: the discounted sum of the TD residuals up to the end of the episode."""
    r, v, w = (e[k].numpy() for k in ("rewards", "values", "next_values"))
    terminated, done = e["terminated"].numpy(), (e["terminated"] | e["truncated"]).numpy()
    residuals = r + gamma * np.where(terminated, 0, w) - v
    advantages = np.zeros_like(r)
    for place in np.ndindex(r.shape):
        t, *column = place
        for k in range(len(r) - t):
            advantages[place] += (gamma * gae_lambda) ** k * residuals[(t + k, *column)]
            if done[(t + k, *column)]:
                break
    return advantages


@pytest.mark.parametrize("gae_lambda", [0.0, 0.3, 0.95, 1.0])
def test_lambda_return_minus_value_is_the_sum_of_residuals(
    episodes: dict[str, torch.Tensor], gae_lambda: float
) -> None:
    e = episodes
    targets = lambda_return(e["rewards"], e["next_values"], e["terminated"], e["truncated"], 0.9, gae_lambda)
    expected = generalised_advantage(e, 0.9, gae_lambda)
    np.testing.assert_allclose((targets - e["values"]).numpy(), expected, atol=1e-12)


def test_gae_0_is_the_td_residual_and_one_step(episodes: dict[str, torch.Tensor]) -> None:
    e = episodes
    arguments = (e["rewards"], e["next_values"], e["terminated"], e["truncated"], 0.9)
    following = torch.where(e["terminated"], 0.0, e["next_values"])
    torch.testing.assert_close(lambda_return(*arguments, 0.0), e["rewards"] + 0.9 * following, rtol=0, atol=1e-12)
    torch.testing.assert_close(n_step_return(*arguments, 1), lambda_return(*arguments, 0.0), rtol=0, atol=1e-12)


def test_gae_1_and_many_steps_are_monte_carlo(episodes: dict[str, torch.Tensor]) -> None:
    e = episodes
    arguments = (e["rewards"], e["next_values"], e["terminated"], e["truncated"], 0.9)
    full = monte_carlo_return(e["rewards"], e["terminated"], e["truncated"], 0.9, e["next_values"])
    torch.testing.assert_close(lambda_return(*arguments, 1.0), full, rtol=0, atol=1e-12)
    torch.testing.assert_close(n_step_return(*arguments, 40), full, rtol=0, atol=1e-12)
    torch.testing.assert_close(n_step_return(*arguments, 1000), full, rtol=0, atol=1e-12)


def test_two_published_mistakes_would_be_seen(episodes: dict[str, torch.Tensor]) -> None:
    """Zeroing the value at a truncation, and letting the trace leak over the reset, both change these targets."""
    e = episodes
    right = lambda_return(e["rewards"], e["next_values"], e["terminated"], e["truncated"], 0.9, 0.95)
    zeroed = lambda_return(e["rewards"], e["next_values"], e["terminated"] | e["truncated"], e["truncated"], 0.9, 0.95)
    leaking = lambda_return(
        e["rewards"], e["next_values"], e["terminated"], torch.zeros_like(e["truncated"]), 0.9, 0.95
    )
    at_truncation = e["truncated"]
    assert (right - zeroed)[at_truncation].abs().min() > 1e-4
    assert (right - leaking)[at_truncation][:-1].abs().max() > 1e-2


def test_n_must_be_positive() -> None:
    with pytest.raises(ValueError, match="n=0"):
        n_step_return(REWARDS, NEXT_VALUES, [False] * 3, [False] * 3, GAMMA, 0)


def random_chain(seed: int, states: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Markov chain P (S, S), rewards r(s) and a critic's error e(s)."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.ones(states), size=states)
    return transition, rng.normal(size=states), rng.normal(size=states)


def expected_targets(transition: np.ndarray, reward: np.ndarray, values: np.ndarray, gamma: float, **kind: float):
    """E[target | s_0 = s] by feeding the recursion *expected* rewards and values: targets are linear in both."""
    horizon, powers = 4000, [np.eye(len(reward))]
    for _ in range(horizon):
        powers.append(powers[-1] @ transition)
    rewards = np.array([power @ reward for power in powers[:horizon]])
    next_values = np.array([power @ values for power in powers[1:]])
    never = np.zeros((horizon, len(reward)), dtype=bool)
    if "n" in kind:
        return n_step_return(rewards[:50], next_values[:50], never[:50], never[:50], gamma, int(kind["n"]))[0].numpy()
    return lambda_return(rewards, next_values, never, never, gamma, kind["gae_lambda"])[0].numpy()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 0.9, 0.95, 1.0])
def test_bias_of_gae_under_a_wrong_critic(seed: int, gae_lambda: float) -> None:
    """E[Â] − A = −e(s) + γ(1−λ) P (I − γλP)⁻¹ e for a critic V + e."""
    transition, reward, error = random_chain(seed)
    gamma, identity = 0.9, np.eye(5)
    value = np.linalg.solve(identity - gamma * transition, reward)
    measured = expected_targets(transition, reward, value + error, gamma, gae_lambda=gae_lambda) - (value + error)
    inverse = np.linalg.inv(identity - gamma * gae_lambda * transition)
    expected = -error + gamma * (1 - gae_lambda) * transition @ inverse @ error
    np.testing.assert_allclose(measured, expected, atol=1e-10)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [1, 2, 4, 16])
def test_bias_of_n_steps_under_a_wrong_critic(seed: int, n: int) -> None:
    """E[Â] − A = −e(s) + γⁿ Pⁿ e."""
    transition, reward, error = random_chain(seed)
    gamma = 0.9
    value = np.linalg.solve(np.eye(5) - gamma * transition, reward)
    measured = expected_targets(transition, reward, value + error, gamma, n=n) - (value + error)
    expected = -error + gamma**n * np.linalg.matrix_power(transition, n) @ error
    np.testing.assert_allclose(measured, expected, atol=1e-10)
