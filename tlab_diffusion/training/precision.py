"""Where a run computes, and in which precision."""

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from tlab_diffusion.errors import InputError
from tlab_diffusion.training.hardware import fast_bfloat16

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(wanted: str, device: torch.device) -> str:
    r"""What "auto" means on a device, or what was asked for, if the device can do it.

    Args:
        wanted: "auto", "fp32", "bf16" or "fp16".
        device: where the run computes.

    Returns:
        "fp32", "bf16" or "fp16".

    Raises:
        InputError: fp16 without a CUDA device, whose gradients need its loss scaling.
    """
    if wanted == "auto":
        if device.type == "cuda":
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        return "bf16" if device.type == "cpu" and fast_bfloat16(device) else "fp32"
    if wanted == "fp16" and device.type != "cuda":
        raise InputError(
            "precision",
            got=f"fp16 on {device.type}",
            expected="fp32 or bf16",
            fix="fp16 needs a CUDA GPU.",
        )
    return wanted


def new_accelerator(precision: str) -> Accelerator:
    """Accelerate, for one run: another run of this process may have used another precision."""
    AcceleratorState._reset_state()  # keeps the process group, forgets the precision
    return Accelerator(mixed_precision="no" if precision == "fp32" else precision)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Arithmetic in this precision, for what runs outside the training step."""
    enabled = precision != "fp32"
    return torch.autocast(device.type, DTYPES[precision] if enabled else None, enabled=enabled)
