"""What all tests share."""

import torch

torch.set_num_threads(1)  # as in training: more threads only make these small products slower
