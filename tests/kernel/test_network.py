"""The kernel's passes of stacked networks: against autograd in double precision, and bit for bit beside others."""

import itertools

import pytest
import torch

from bench.kernel import library
from bench.kernel.network import Passes

SHAPES = [  # inputs, hidden, outputs
    (4, (64, 64), 2),
    (4, (64, 64), 1),
    (3, (), 2),
    (1, (1,), 1),
    (6, (64, 32), 3),
    (17, (33, 5, 20), 19),
    (5, (16, 16, 16, 16), 4),
]
VARIANTS = library.variants()


def size(shape: Passes) -> int:
    widths = (shape.inputs, *shape.hidden, shape.outputs)
    return sum(out * (into + 1) for into, out in itertools.pairwise(widths))


def reference(shape: Passes, flat: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """The same networks in torch's own words, (S, outputs, B)."""
    widths, activations, place = (shape.inputs, *shape.hidden, shape.outputs), inputs, 0
    for layer, (into, out) in enumerate(itertools.pairwise(widths)):
        weight = flat[:, place : place + into * out].unflatten(1, (out, into))
        bias = flat[:, place + into * out : place + into * out + out]
        place += out * (into + 1)
        activations = weight @ activations + bias.unsqueeze(2)
        activations = activations if layer == len(shape.hidden) else activations.tanh()
    return activations


def case(shape: Passes, replicas: int, samples: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    flat = torch.randn(replicas, size(shape) + 3, generator=generator, dtype=dtype) / 2
    inputs = torch.randn(replicas, shape.inputs, samples, generator=generator, dtype=dtype)
    return flat, inputs, torch.randn(replicas, shape.outputs, samples, generator=generator, dtype=dtype)


def run(
    shape: Passes, flat: torch.Tensor, inputs: torch.Tensor, d_outputs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    outputs, saved = shape.forward(flat, inputs)
    grad = torch.zeros_like(flat)
    shape.backward(flat, inputs, saved, d_outputs, grad)
    return outputs, grad


@pytest.fixture(params=VARIANTS)
def variant(request, monkeypatch):
    """Compute with one of the libraries that this processor can run."""
    monkeypatch.setenv(library.VARIANT, request.param)
    library.library.cache_clear()
    yield request.param
    library.library.cache_clear()


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("shape", [Passes(*each) for each in SHAPES], ids=str)
@pytest.mark.parametrize("samples", [1, 5, 6, 70])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-13), (torch.float32, 2e-5)])
def test_values_and_gradients_are_those_of_autograd(shape, samples, dtype, error):
    flat, inputs, d_outputs = case(shape, 3, samples, dtype)
    outputs, grad = run(shape, flat, inputs, d_outputs)
    exact = flat.double().requires_grad_()
    expected = reference(shape, exact, inputs.double())
    (expected * d_outputs.double()).sum().backward()
    assert exact.grad is not None
    assert torch.allclose(outputs.double(), expected.detach(), rtol=0, atol=error)
    assert torch.allclose(grad.double(), exact.grad, rtol=0, atol=error * max(1, samples))
    assert (grad[:, size(shape) :] == 0).all()  # what lies behind the parameters is not the network's


@pytest.mark.parametrize("shape", [Passes(*each) for each in SHAPES], ids=str)
def test_a_sample_has_the_same_bits_in_any_batch(shape):
    flat, inputs, d_outputs = case(shape, 2, 70, torch.float32)
    whole, _ = run(shape, flat, inputs, d_outputs)
    for samples in range(1, 71):
        part, _ = run(shape, flat, inputs[:, :, :samples], d_outputs[:, :, :samples])
        assert torch.equal(part, whole[:, :, :samples])
    alone, _ = run(shape, flat, inputs[:, :, 37:38], d_outputs[:, :, 37:38])
    assert torch.equal(alone, whole[:, :, 37:38])


@pytest.mark.parametrize("shape", [Passes(*each) for each in SHAPES], ids=str)
def test_a_replica_has_the_same_bits_beside_any_others(shape):
    flat, inputs, d_outputs = case(shape, 5, 29, torch.float32)
    together = run(shape, flat, inputs, d_outputs)
    order = [3, 0, 4, 2, 1]
    shuffled = run(shape, flat[order], inputs[order], d_outputs[order])
    for whole, other in zip(together, shuffled, strict=True):
        assert torch.equal(whole[order], other)
    for replica in range(5):
        alone = run(shape, flat[[replica]], inputs[[replica]], d_outputs[[replica]])
        assert all(torch.equal(a[0], b[replica]) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("shape", [Passes(*each) for each in SHAPES], ids=str)
def test_padding_a_batch_with_errors_of_zero_changes_no_gradient(shape):
    flat, inputs, d_outputs = case(shape, 2, 40, torch.float32)
    _, grad = run(shape, flat, inputs, d_outputs)
    more = torch.nn.functional.pad(inputs, (0, 9), value=2.0), torch.nn.functional.pad(d_outputs, (0, 9))
    assert torch.equal(run(shape, flat, *more)[1], grad)


@pytest.mark.skipif(len(VARIANTS) < 2, reason="this processor can run one library only")
@pytest.mark.parametrize("shape", [Passes(*each) for each in SHAPES], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_all_libraries_give_the_same_bits(shape, dtype, monkeypatch):
    found = []
    for name in VARIANTS:
        monkeypatch.setenv(library.VARIANT, name)
        library.library.cache_clear()
        found.append([result.numpy().tobytes() for result in run(shape, *case(shape, 3, 50, dtype))])
    library.library.cache_clear()
    assert found[0] == found[1]


def test_tensors_may_be_views_in_any_order():
    shape = Passes(4, (8,), 2)
    flat, inputs, d_outputs = case(shape, 2, 11, torch.float32)
    outputs, grad = run(shape, flat, inputs, d_outputs)
    turned = [each.permute(2, 0, 1).contiguous().permute(1, 2, 0) for each in (inputs, d_outputs)]
    again, grad_again = run(shape, flat, *turned)
    assert torch.equal(again, outputs)
    assert torch.equal(grad_again, grad)


def test_the_features_are_those_of_the_last_hidden_layer():
    shape = Passes(4, (8, 5), 2)
    flat, inputs, _ = case(shape, 2, 11, torch.float64)
    _, saved = shape.forward(flat, inputs)
    below = Passes(4, (8,), 5)  # the same layers, the last of them as outputs
    outputs, _ = below.forward(flat, inputs)
    assert torch.allclose(shape.features(inputs, saved), outputs.tanh(), atol=1e-15)


def test_a_replica_that_is_no_number_leaves_the_others_alone():
    shape = Passes(4, (7,), 2)
    flat, inputs, d_outputs = case(shape, 3, 11, torch.float32)
    whole = run(shape, flat, inputs, d_outputs)
    flat[1], inputs[1, 0, 0] = torch.nan, torch.inf
    broken = run(shape, flat, inputs, d_outputs)
    for before, after in zip(whole, broken, strict=True):
        assert torch.equal(before[[0, 2]], after[[0, 2]])
        assert after[1].isnan().any()


def test_no_samples_and_no_replicas():
    shape = Passes(4, (8,), 2)
    flat, inputs, d_outputs = case(shape, 2, 0, torch.float32)
    outputs, grad = run(shape, flat, inputs, d_outputs)
    assert outputs.shape == (2, 2, 0)
    assert (grad == 0).all()
    assert run(shape, flat[:0], inputs[:0], d_outputs[:0])[0].shape == (0, 2, 0)


@pytest.mark.parametrize("wrong", [(0, (4,), 1), (3, (4, 0), 1), (3, (4,), 0), (3, (4,) * 17, 1)])
def test_impossible_shapes_are_refused(wrong):
    with pytest.raises(ValueError, match="at most 16 hidden layers, and one number at least everywhere"):
        Passes(*wrong)
