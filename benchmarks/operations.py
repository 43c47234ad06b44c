r"""Counts the operations that a sample costs in each part of a pipeline."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tlab_diffusion.pipelines import embed, load


class Operations(NamedTuple):
    """Floating-point operations for one sample."""

    unet: int  # forward and backward
    vae: int  # encoder
    text: int


def count(model: str) -> Operations:
    """Count what one sample costs, with attention written out, of which nothing is missed."""
    pipeline = load(model, "cpu")
    unet, vae = pipeline.unet, pipeline.vae
    side = unet.config.sample_size
    enlarged = side * 2 ** (len(vae.config.block_out_channels) - 1)
    latents = torch.zeros(1, unet.config.in_channels, side, side)
    pixels = torch.zeros(1, 3, enlarged, enlarged)
    with torch.no_grad():
        words = embed(pipeline, [""])
        encoders = [_flops(lambda: vae.encode(pixels)), _flops(lambda: embed(pipeline, [""]))]
    return Operations(_flops(lambda: unet(latents, 1, words).sample.sum().backward()), *encoders)


def _flops(work: Callable[[], object]) -> int:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
