r"""What this machine has: devices, memory, and settings that make training fast on it."""

import ctypes
import math
import sys
import time

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import nn


def multiplies_bfloat16(device: torch.device) -> bool:
    r"""Whether the hardware multiplies bfloat16: newer GPUs, processors with AVX512-BF16 or AMX.

    Elsewhere it is emulated: measured on AVX2 alone, a convolution takes fifteen times as long.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def run_device() -> torch.device:
    """The device of this process; joins the other processes of the run, where there are some."""
    # Told that it is on a CPU, accelerate joins processes by gloo; else each would run alone.
    cpu = best_device() == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU")
    return PartialState(cpu=cpu).device


def set_attention(unet: nn.Module, device: torch.device) -> None:
    r"""Write attention out where a U-Net is trained on a processor, instead of one fused kernel.

    The fused kernel saves memory that short sequences do not need, and its backward pass is slow
    there: measured at batch 48, a quarter to a third of a training step.
    """
    if device.type == "cpu":
        from diffusers.models.attention_processor import AttnProcessor

        unet.set_attn_processor(AttnProcessor())


def tune_malloc() -> None:
    r"""Let the C library keep freed memory, instead of handing it back to the system.

    A training step frees and asks again for the same megabytes; glibc's default returns each
    large piece to the system, which then clears it again: a third of the whole time, as measured.
    Elsewhere than on Linux with glibc nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # numbers of malloc.h
        mallopt(mmap_threshold, 32 * 2**20)  # the most it takes
        mallopt(trim_threshold, 2**31 - 1)


def best_device() -> str:
    """cuda, mps or cpu: the fastest that is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def free_memory(device: torch.device) -> int:
    """Bytes that a device can still give."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return psutil.virtual_memory().available


def measured_speed(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a plain matrix product, in a fraction of a second."""
    side = 8192 if device.type == "cuda" else 1024
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    best = math.inf
    for _ in range(4):
        start = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best
