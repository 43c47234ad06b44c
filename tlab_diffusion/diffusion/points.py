r"""A small network for points, which trains in seconds: what `unet` is for pictures."""

import torch
from torch import Tensor, nn

from tlab_diffusion.diffusion.unet import timestep_embedding
from tlab_diffusion.errors import InputError

FREQUENCIES = (1, 2, 4)  # of the waves of a coordinate, made for points within a few units


class PointNet(nn.Module):
    r"""Predicts the noise in noisy points (or x0, or v: the loss decides).

    Three hidden layers; the first one is told the point and the time, both as waves of several
    frequencies: from bare numbers a network is slow to learn fine detail (arXiv:2006.10739).

    Args:
        dimensions: of a point.
        width: of the hidden layers.
        embedding_size: numbers that tell the time, an even number.

    Shape:
        `x_t` (B, dimensions) and `t` (B,) give (B, dimensions).

    Raises:
        InputError: on points of another number of dimensions.
    """

    def __init__(self, dimensions: int = 2, width: int = 128, embedding_size: int = 32):
        super().__init__()
        self.dimensions, self.embedding_size = dimensions, embedding_size
        told = dimensions * (1 + 2 * len(FREQUENCIES)) + embedding_size
        self.layers = nn.Sequential(
            nn.Linear(told, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, dimensions),
        )

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        if x_t.ndim != 2 or x_t.shape[1] != self.dimensions:
            raise InputError(
                "x_t", got=f"shape {tuple(x_t.shape)}", expected=f"(B, {self.dimensions})"
            )
        time = timestep_embedding(t, self.embedding_size).to(x_t)
        return self.layers(torch.cat([point_waves(x_t), time], dim=1))


def point_waves(x: Tensor) -> Tensor:
    r"""Points (B, D), and beside them the cosine and sine of each coordinate at each frequency."""
    angles = (x[:, :, None] * torch.tensor(FREQUENCIES).to(x)).flatten(1)
    return torch.cat([x, angles.cos(), angles.sin()], dim=1)
