r"""What moves the weights: AdamW (arXiv:1711.05101), with moments in 32 bits or in 8.

Eight-bit moments (arXiv:2110.02861) save six bytes for every number that learns, 5 GB for Stable
Diffusion 1.5. They come with bitsandbytes, which is no requirement of this course.
"""

import importlib
from collections.abc import Iterable

import torch
from torch import nn

from tlab_diffusion.errors import InputError

ADAMW, ADAMW_8BIT = OPTIMIZERS = ("adamw", "adamw8bit")
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
    r"""An optimizer of `OPTIMIZERS`, whose state is made of plain tensors.

    Args:
        name: which.
        parameters: what learns.
        learning_rate: constant.
        epsilon: see `DreamBoothConfig.adam_epsilon`.
    """
    if name == ADAMW:
        return torch.optim.AdamW(parameters, learning_rate, eps=epsilon, fused=True)
    return _adamw_8bit()(parameters, learning_rate, eps=epsilon)


def _adamw_8bit() -> type[torch.optim.Optimizer]:
    class AdamW8bit(_bitsandbytes().optim.AdamW8bit):
        """bitsandbytes' optimizer, with a state that a safetensors file can hold."""

        def state_dict(self) -> dict:
            # Optimizer's own: theirs nests the moments. All parameters share one table of values,
            # so each gets its own copy.
            state = torch.optim.Optimizer.state_dict(self)
            kept = {
                index: {name: torch.as_tensor(value).clone() for name, value in moments.items()}
                for index, moments in state["state"].items()
            }
            return state | {"state": kept}

        def load_state_dict(self, state_dict: dict) -> None:
            kept = {
                index: moments | {"step": int(moments["step"])}  # theirs counts in plain integers
                for index, moments in state_dict["state"].items()
            }
            super().load_state_dict(state_dict | {"state": kept})

    return AdamW8bit


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
