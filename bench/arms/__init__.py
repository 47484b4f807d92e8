"""What is compared: pure functions on tensors. No I/O, no Stable-Baselines3."""
