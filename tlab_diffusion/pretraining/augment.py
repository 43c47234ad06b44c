r"""Random changes that keep a picture's factors, so that networks do not depend on such details.

All take and give pictures (B, 3, H, W) in [-1, 1]; what they draw comes from the generator.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from tlab_diffusion.pipelines.latents import to_tensor


def shifted(pictures: np.ndarray, chosen: Tensor, most: int, generator: Generator) -> Tensor:
    r"""Choose pictures (N, H, W, 3) uint8, and move each by up to `most` pixels; rims repeat."""
    height, width = pictures.shape[1:3]
    dy, dx = torch.randint(-most, most + 1, (2, len(chosen), 1), generator=generator)
    rows = (torch.arange(height) + dy).clamp(0, height - 1)
    columns = (torch.arange(width) + dx).clamp(0, width - 1)
    index = (chosen[:, None, None], rows[:, :, None], columns[:, None, :])
    return to_tensor(pictures[tuple(part.numpy() for part in index)])


def recoloured(x: Tensor, strength: float, generator: Generator) -> Tensor:
    r"""Brighten, stretch and tint each picture a little."""
    draws = torch.randn(len(x), 5, 1, 1, generator=generator).clamp(-2, 2) * strength
    brightness, contrast, tint = draws[:, :1], draws[:, 1:2], draws[:, 2:]
    return (x * (1 + contrast) + brightness + 0.5 * tint).clamp(-1, 1)


def softened(x: Tensor, share: float, generator: Generator) -> Tensor:
    r"""Blur a share of the pictures, each by its own amount, as an autoencoder does."""
    amount = torch.rand(len(x), 1, 1, 1, generator=generator) * 1.5
    picked = torch.rand(len(x), generator=generator) < share
    soft = x[picked]
    padded = F.pad(soft, (1, 1, 1, 1), mode="replicate")
    rows = (padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]) / 4
    blurred = (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4
    x = x.clone()
    x[picked] = soft + amount[picked] * (blurred - soft)
    return x.clamp(-1, 1)


def noisy(x: Tensor, most: float, generator: Generator) -> Tensor:
    r"""Add noise, to each picture of its own strength."""
    strength = torch.rand(len(x), 1, 1, 1, generator=generator) * most
    return x + strength * torch.randn(x.shape, generator=generator)


def cut_out(x: Tensor, share: float, size: int, generator: Generator) -> Tensor:
    r"""Grey out a square of up to `size` pixels in a share of the pictures."""
    height, width = x.shape[2:]
    sides = torch.randint(size // 2, size + 1, (len(x), 1), generator=generator)
    sides *= torch.rand(len(x), 1, generator=generator) < share
    top = torch.randint(height, (len(x), 1), generator=generator)
    left = torch.randint(width, (len(x), 1), generator=generator)
    y, column = torch.arange(height), torch.arange(width)
    inside_y = (y >= top) & (y < top + sides)
    inside_x = (column >= left) & (column < left + sides)
    return x.masked_fill((inside_y[:, :, None] & inside_x[:, None, :])[:, None], 0.0)
