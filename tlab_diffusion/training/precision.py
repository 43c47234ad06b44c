r"""The precision of training and sampling: the only place that chooses it."""

import torch

from tlab_diffusion.errors import InputError
from tlab_diffusion.training.hardware import multiplies_bfloat16

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(wanted: str, device: torch.device) -> str:
    r"""The precision for a device: the wanted one, or for "auto" the fastest that is native to it.

    "auto" is bf16 where the hardware multiplies bfloat16, else fp16 on CUDA, else fp32.

    Args:
        wanted: "auto", "fp32", "bf16" or "fp16".
        device: where the run computes.

    Returns:
        "fp32", "bf16" or "fp16".

    Raises:
        InputError: fp16 without a CUDA device, whose gradients need its loss scaling.
    """
    if wanted == "auto":
        if multiplies_bfloat16(device):
            return "bf16"
        return "fp16" if device.type == "cuda" else "fp32"
    if wanted == "fp16" and device.type != "cuda":
        raise InputError(
            "precision",
            got=f"fp16 on {device.type}",
            expected="fp32 or bf16",
            fix="fp16 needs a CUDA GPU.",
        )
    return wanted


def autocast(device: torch.device, precision: str = "auto") -> torch.autocast:
    r"""Compute in this precision; see `choose_precision`."""
    precision = choose_precision(precision, device)
    enabled = precision != "fp32"
    return torch.autocast(device.type, DTYPES[precision] if enabled else None, enabled=enabled)
