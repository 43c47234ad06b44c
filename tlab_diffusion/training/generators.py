r"""Random numbers as a function of a seed and some integers, the same on every device."""

import numpy as np
import torch


def generator_for(seed: int, *numbers: int) -> torch.Generator:
    r"""The random numbers that belong to (seed, numbers), on every device."""
    mixed = np.random.SeedSequence((seed, *numbers)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(mixed[0]))
