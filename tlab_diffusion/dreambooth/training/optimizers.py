r"""Optimizers: AdamW (arXiv:1711.05101), with moments in 32 bits or in 8.

Eight-bit moments (arXiv:2110.02861) save six bytes for each trained number, 5 GB for Stable
Diffusion 1.5. They need bitsandbytes, which this course does not require.
"""

import importlib
from collections.abc import Iterable

import torch
from torch import nn

from tlab_diffusion.dreambooth.config import ADAMW, ADAMW_8BIT
from tlab_diffusion.errors import InputError

MOMENT_BYTES = {ADAMW: 8, ADAMW_8BIT: 2}  # of the two moments of a number


def check_optimizer(name: str, device: torch.device) -> None:
    r"""Refuse an optimizer that this machine does not have.

    Raises:
        InputError: 8-bit moments without a CUDA device, or without bitsandbytes.
    """
    if name != ADAMW_8BIT:
        return
    if device.type != "cuda":
        raise InputError(
            "optimizer",
            got=f"{name} on {device.type}",
            expected=ADAMW,
            fix="8-bit moments need a CUDA GPU.",
        )
    _bitsandbytes()


def new_optimizer(
    name: str, parameters: Iterable[nn.Parameter], learning_rate: float, epsilon: float
) -> torch.optim.Optimizer:
    r"""An optimizer of `OPTIMIZERS`.

    Args:
        name: which.
        parameters: those to train.
        learning_rate: constant.
        epsilon: see `DreamBoothConfig.adam_epsilon`.
    """
    if name == ADAMW:
        return torch.optim.AdamW(parameters, learning_rate, eps=epsilon, fused=True)
    return _bitsandbytes().optim.AdamW8bit(parameters, learning_rate, eps=epsilon)


def _bitsandbytes():
    try:
        return importlib.import_module("bitsandbytes")
    except (ImportError, OSError, RuntimeError) as error:  # missing, or for another CUDA
        raise InputError(
            "optimizer",
            got=f"{ADAMW_8BIT} without bitsandbytes ({error})",
            expected=f"{ADAMW}, or bitsandbytes installed",
            fix="Install it with: pip install bitsandbytes",
        ) from error
