"""The stacked networks and their optimiser against autograd and torch's own Adam."""

import numpy as np
import pytest
import torch

from bench.kernel.engine import Engine, computing_with
from bench.learner.network import Stack, orthogonal
from bench.learner.optimiser import Adam


def random_stack(replicas: int, hidden: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Stack:
    stack = Stack(replicas, 3, hidden, 2, dtype=dtype)
    stack.flat[:, : stack.used] = torch.randn(
        replicas, stack.used, generator=torch.Generator().manual_seed(0), dtype=dtype
    )
    return stack


def reference_outputs(stack: Stack, flat: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """The same networks, one replica and one layer at a time, sample-major, in plain torch."""
    return reference_pass(stack, flat, inputs)[0]


def reference_pass(stack: Stack, flat: torch.Tensor, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`reference_outputs`, and the features they are computed from."""
    outputs, features = [], []
    for replica, parameters in enumerate(flat):
        activation, start = inputs[replica].T, 0
        layers = len(stack.hidden) + 1
        for layer in range(layers):
            weight, bias = stack.shapes[2 * layer : 2 * layer + 2]
            w = parameters[start : start + weight[0] * weight[1]].view(weight)
            b = parameters[start + weight[0] * weight[1] : start + weight[0] * weight[1] + bias[0]]
            start += weight[0] * weight[1] + bias[0]
            if layer == layers - 1:
                features.append(activation.T)
            activation = torch.nn.functional.linear(activation, w, b)
            activation = torch.tanh(activation) if layer < layers - 1 else activation
        outputs.append(activation.T)
    return torch.stack(outputs), torch.stack(features)


@pytest.mark.parametrize("engine", ["kernel", "torch"])
@pytest.mark.parametrize("hidden", [(), (32,), (32, 32), (64, 32, 64), (5, 7)])
def test_forward_and_backward_equal_autograd(hidden: tuple[int, ...], engine: Engine) -> None:
    with computing_with(engine):
        check_against_autograd(hidden)


def check_against_autograd(hidden: tuple[int, ...]) -> None:
    stack = random_stack(3, hidden)
    inputs = torch.randn(3, 3, 11, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = torch.randn(3, 2, 11, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    outputs, saved = stack.forward(inputs)
    flat = stack.flat.clone().requires_grad_()
    expected = reference_outputs(stack, flat, inputs)
    torch.testing.assert_close(outputs, expected.detach(), rtol=0, atol=1e-12)
    stack.backward(weights, saved)
    (gradient,) = torch.autograd.grad((expected * weights).sum(), flat)
    torch.testing.assert_close(stack.grad, gradient, rtol=0, atol=1e-11)


def test_replicas_have_orthogonal_weights_of_their_own() -> None:
    stack = Stack(2, 3, (32, 32), 2)
    for replica in range(2):
        stack.initialise(replica, np.random.default_rng(replica), head_gain=0.01)
    second = stack.weights[2]
    assert not torch.equal(second[0], second[1])
    for matrix in second:
        torch.testing.assert_close(matrix @ matrix.T, 2 * torch.eye(32), atol=1e-5, rtol=0)
    head = stack.weights[4][0]
    torch.testing.assert_close(head @ head.T, 1e-4 * torch.eye(2), atol=1e-8, rtol=0)
    assert float(stack.weights[1].abs().sum()) == 0.0


def test_batches_may_have_any_width() -> None:
    stack = random_stack(2, (32, 32))
    for size in (8, 20, 3, 1):
        inputs = torch.randn(2, 3, size, dtype=torch.float64)
        torch.testing.assert_close(stack.forward(inputs)[0], reference_outputs(stack, stack.flat, inputs))


@pytest.mark.parametrize("replica", [0, 3])
def test_bits_do_not_depend_on_the_neighbours(replica: int) -> None:
    together = random_stack(5, (64, 64), torch.float32)
    alone = together.select([replica])
    inputs = torch.randn(5, 3, 24, generator=torch.Generator().manual_seed(4))
    outputs, saved = together.forward(inputs)
    own, own_saved = alone.forward(inputs[replica : replica + 1])
    assert torch.equal(outputs[replica], own[0])
    together.backward(outputs.clone(), saved)
    alone.backward(own.clone(), own_saved)
    assert torch.equal(together.grad[replica], alone.grad[0])


@pytest.mark.parametrize("engine", ["kernel", "torch"])
def test_adam_equals_torchs(engine: Engine) -> None:
    with computing_with(engine):
        check_adam()


def check_adam() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(2, 67, generator=generator, dtype=torch.float64)
    theirs = [torch.nn.Parameter(row.clone()) for row in ours]
    rates = [1e-2, 3e-4]
    optimisers = [torch.optim.Adam([p], lr=rate, eps=1e-5) for p, rate in zip(theirs, rates, strict=True)]
    adam = Adam(ours)
    for _ in range(30):
        gradient = torch.randn(2, 67, generator=generator, dtype=torch.float64)
        adam.step(ours, gradient, np.array(rates)[:, None])
        for parameter, row, optimiser in zip(theirs, gradient, optimisers, strict=True):
            parameter.grad = row.clone()
            optimiser.step()
    torch.testing.assert_close(ours, torch.stack([p.detach() for p in theirs]), rtol=0, atol=1e-13)


@pytest.mark.parametrize("agreeing", [True, False])
def test_adams_bits_do_not_depend_on_the_neighbours(agreeing: bool) -> None:
    """A row moves alike alone, beside rows with its learning rate and beside rows with another."""
    generator = torch.Generator().manual_seed(0)
    together = torch.randn(5, 203, generator=generator)
    alone = together[3:4].clone()
    rates = np.full((5, 1), 3e-4) if agreeing else np.linspace(1e-4, 5e-4, 5)[:, None]
    beside, single = Adam(together), Adam(alone)
    for _ in range(5):
        gradient = torch.randn(5, 203, generator=generator)
        beside.step(together, gradient, rates)
        single.step(alone, gradient[3:4], rates[3:4])
    assert torch.equal(together[3], alone[0])
    assert torch.equal(beside.second[3], single.second[0])


def test_adam_state_of_some_replicas_comes_and_goes() -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = torch.randn(3, 64, generator=generator)
    gradient = torch.randn(3, 64, generator=generator)
    rate = np.full((3, 1), 0.1)
    adam, untouched = Adam(parameters), parameters[1].clone()
    part = adam.select([0, 2])
    some = parameters[[0, 2]]
    part.step(some, gradient[[0, 2]], rate[[0, 2]])
    adam.restore([0, 2], part)
    assert adam.steps.ravel().tolist() == [1, 0, 1]
    assert float(adam.first[1].abs().sum()) == 0.0
    assert torch.equal(parameters[1], untouched)
    whole = Adam(parameters)
    whole.load_state_dict(adam.state_dict())
    assert torch.equal(whole.second, adam.second)
    assert whole.steps.tolist() == adam.steps.tolist()


@pytest.mark.parametrize("engine", ["kernel", "torch"])
def test_adam_moves_nobody_who_takes_no_step(engine: Engine) -> None:
    parameters = torch.ones(3, 5)
    adam, rate = Adam(parameters), np.full((3, 1), 0.1)
    with computing_with(engine):
        adam.step(parameters, torch.ones(3, 5), rate)
        moved = parameters.clone()
        adam.step(parameters, torch.ones(3, 5), rate, np.array([True, False, True]))
    assert torch.equal(parameters[1], moved[1])
    assert not torch.equal(parameters[0], moved[0])
    assert torch.equal(parameters[0], parameters[2])
    assert adam.steps.ravel().tolist() == [2, 1, 2]
    assert float(adam.first[1, 0]) == pytest.approx(0.1)  # one step of 1 − β1


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (64, 64), (5, 64), (64, 4)])
def test_orthogonal_matrices_are_orthonormal_and_uniform(shape: tuple[int, int]) -> None:
    """The first column of a matrix is a unit vector in a random direction: its numbers have mean 0 and variance 1/n."""
    matrix = orthogonal(np.random.default_rng(3), *shape)
    small = min(shape)
    product = matrix @ matrix.T if shape[0] <= shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, np.eye(small), atol=1e-14)
    drawn = np.array([orthogonal(np.random.default_rng(seed), *shape)[-1, -1] for seed in range(400)])
    assert abs(drawn.mean()) < 4 * drawn.std() / 20 + 1e-12
    assert (drawn**2).mean() == pytest.approx(1 / max(shape), rel=0.3)
