r"""How fast a stage goes: its learning rate over time, and what suits this machine."""

import ctypes
import math
import sys
from typing import Protocol

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import nn

from tlab_diffusion.pipelines import best_device


class Pace(Protocol):
    """What every stage's configuration says about its steps."""

    steps: int
    learning_rate: float
    warm_up_steps: int


def learning_rate_at(step: int, pace: Pace) -> float:
    r"""A straight rise to the full rate, then half a cosine down to 0 (arXiv:1608.03983).

    Args:
        step: from 1 to `pace.steps`.
        pace: the stage's configuration.
    """
    rise = min(1.0, step / max(1, pace.warm_up_steps))
    progress = max(0, step - pace.warm_up_steps) / max(1, pace.steps - pace.warm_up_steps)
    return pace.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * progress))


def fast_bfloat16(device: torch.device) -> bool:
    r"""Whether the hardware multiplies bfloat16: GPUs, and processors with AVX512-BF16 or AMX.

    Elsewhere it is emulated: measured on AVX2 alone, a convolution takes fifteen times as long.
    """
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()


def autocast(device: torch.device) -> torch.autocast:
    r"""bfloat16 where it is fast."""
    return torch.autocast(device.type, torch.bfloat16, enabled=fast_bfloat16(device))


def run_device() -> torch.device:
    """The device of this process; joins the other processes of the run, where there are some."""
    # Told that it is on a CPU, accelerate joins processes by gloo; else each would run alone.
    cpu = best_device() == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU")
    return PartialState(cpu=cpu).device


def suit_attention(unet: nn.Module, device: torch.device) -> None:
    r"""Write attention out where a U-Net is trained on a processor, instead of one fused kernel.

    The fused kernel saves memory that short sequences do not need, and its backward pass is slow
    there: measured at batch 48, a quarter to a third of a training step.
    """
    if device.type == "cpu":
        from diffusers.models.attention_processor import AttnProcessor

        unet.set_attn_processor(AttnProcessor())


def keep_memory() -> None:
    r"""Let the C library keep freed memory, instead of handing it back to the system.

    A training step frees and asks again for the same megabytes; glibc's default returns each
    large piece to the system, which then clears it anew: measured, a third of the whole time.
    Elsewhere than on Linux with glibc nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # numbers of malloc.h
        mallopt(mmap_threshold, 32 * 2**20)  # the most it takes
        mallopt(trim_threshold, 2**31 - 1)
