r"""A small network for points, which trains in seconds."""

import torch
from torch import Tensor, nn

from tlab_diffusion.diffusion.unet import timestep_embedding
from tlab_diffusion.errors import InputError

FREQUENCIES = (1, 2, 4)  # of the features of a coordinate; for points within a few units


class PointNet(nn.Module):
    r"""Predicts the noise in noisy points (or x0, or v: the loss decides).

    Three hidden layers. Point and timestep enter as sines and cosines of several frequencies,
    because a network learns fine detail slowly from bare coordinates (arXiv:2006.10739).

    Args:
        dimensions: of a point.
        width: of the hidden layers.
        embedding_size: length of the timestep embedding.

    Shape:
        `x_t` (B, dimensions) and `t` (B,) give (B, dimensions).

    Raises:
        InputError: on points of another number of dimensions.
    """

    def __init__(self, dimensions: int = 2, width: int = 128, embedding_size: int = 32):
        super().__init__()
        self.dimensions, self.embedding_size = dimensions, embedding_size
        in_features = dimensions * (1 + 2 * len(FREQUENCIES)) + embedding_size
        self.layers = nn.Sequential(
            nn.Linear(in_features, width),
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
        return self.layers(torch.cat([fourier_features(x_t), time], dim=1))


def fourier_features(x: Tensor) -> Tensor:
    r"""Fourier features of points (B, D): the points, and cosine and sine at each frequency."""
    angles = (x[:, :, None] * torch.tensor(FREQUENCIES).to(x)).flatten(1)
    return torch.cat([x, angles.cos(), angles.sin()], dim=1)
