r"""Two small data sets that train in minutes: points with a known exact denoiser, and pictures.

Lesson 03 and its widget share them.
"""

import math

import torch
from torch import Tensor

from tlab_diffusion.diffusion.mixture import GaussianMixture
from tlab_diffusion.picturebook import Scene, random_scene, render

# All but colour and pose is fixed, so that a few hundred steps are enough to learn it.
CAT = {
    "class_noun": "cat",
    "view": "front",
    "style": "cartoon",
    "pattern": "plain",
    "accessory": None,
    "place": "meadow",
    "expression": "happy",
}


def smile() -> GaussianMixture:
    """Two eyes and a mouth, as a mixture of ten normal distributions in the plane."""
    eyes = torch.tensor([[-0.8, 1.0], [0.8, 1.0]])
    angles = math.pi * torch.linspace(1.12, 1.88, 8)
    mouth = 1.7 * torch.stack([angles.cos(), angles.sin()], dim=1) + torch.tensor([0.0, 0.35])
    variances = torch.tensor([0.04] * 2 + [0.015] * 8)
    return GaussianMixture(
        weights=torch.tensor([0.25] * 2 + [0.5 / 8] * 8),
        means=torch.cat([eyes, mouth]),
        covariances=variances[:, None, None] * torch.eye(2),
    )


def pixel_cats(number: int, size: int = 16) -> Tensor:
    r"""Draws cats in a meadow, each in a colour and a pose of its own.

    Args:
        number: how many; the first ones are the same whatever the number.
        size: width and height in pixels.

    Returns:
        (number, 3, size, size) float32, from -1 to 1.
    """
    pictures = [render(scene, size) for scene in _cats(number)]
    pixels = torch.stack([torch.from_numpy(picture) for picture in pictures])
    return pixels.permute(0, 3, 1, 2) / 127.5 - 1


def cat_colours(number: int) -> list[str]:
    """Returns the colours of the cats that `pixel_cats(number)` draws, as words."""
    return [scene.colour for scene in _cats(number)]


def _cats(number: int) -> list[Scene]:
    return [random_scene(seed, **CAT) for seed in range(number)]
