"""The lockstep learner."""

from bench.learner.policy_gradient import PolicyGradient

__all__ = ["PolicyGradient"]
