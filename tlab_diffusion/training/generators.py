r"""Random numbers as a function of a seed and some integers, the same on every device."""

import numpy as np
import torch


def generator_for(seed: int, *numbers: int) -> torch.Generator:
    r"""A CPU generator that depends on (seed, numbers) alone.

    Every step and sample gets a generator of its own, so its random numbers do not depend on the
    batch, the process or an interruption. Draw on the CPU, then move to the device.

    Args:
        seed: integer >= 0, of any size.
        numbers: integers >= 0, such as the step and the number of the sample.
    """
    mixed = np.random.SeedSequence((seed, *numbers)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(mixed[0]))
