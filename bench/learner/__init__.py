"""The lockstep learner."""
