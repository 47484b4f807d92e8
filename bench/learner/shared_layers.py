"""Actor and critic on the same hidden layers: what the critic has of its own is a head that reads the actor's last.

Stacks are as in `bench.learner.network`; what is returned has copies of their parameters.
"""

import torch
from torch import Tensor

from bench.learner.network import Stack


def value_network(actor: Stack, head: Stack) -> Stack:
    """Return the networks of the values: the actor's hidden layers below the critic's head."""
    network = Stack(0, actor.inputs, actor.hidden, head.outputs, dtype=actor.flat.dtype, device=actor.flat.device)
    network.bind(torch.cat([actor.flat[:, : _hidden_size(actor)], head.flat], 1))
    return network


def both_heads(actor: Stack, head: Stack) -> Stack:
    """Return networks whose outputs are the policy's and then the value; without the actor's extras."""
    network = Stack(
        0, actor.inputs, actor.hidden, actor.outputs + head.outputs, dtype=actor.flat.dtype, device=actor.flat.device
    )
    hidden, weights = _hidden_size(actor), actor.outputs * head.inputs
    policy = actor.flat[:, hidden:].split([weights, actor.outputs, actor.extra], 1)
    value = head.flat.split([head.inputs, head.outputs], 1)
    network.bind(torch.cat([actor.flat[:, :hidden], policy[0], value[0], policy[1], value[1]], 1))
    return network


def take_apart(gradient: Tensor, actor: Stack, head: Stack) -> None:
    """Write the gradient of `both_heads` (S, P) into those of the actor, its extras left alone, and of the head."""
    sizes = [_hidden_size(actor), actor.outputs * head.inputs, head.inputs, actor.outputs, head.outputs]
    hidden, policy, value, policy_bias, value_bias = gradient.split(sizes, 1)
    actor.grad[:, : actor.used - actor.extra] = torch.cat([hidden, policy, policy_bias], 1)
    head.grad.copy_(torch.cat([value, value_bias], 1))


def _hidden_size(stack: Stack) -> int:
    """Return how many parameters the hidden layers have."""
    return sum(stack.sizes[:-2])
