r"""The autoencoder of `picturebook`: pictures (3, S, S) to latents (4, 16, 16) and back.

Loss: `|e|^2 + sharpness_weight (|e| + |grad e|) + kl_weight KL(q(z | x) || N(0, I))` with
e = x - x_hat, means over elements. The square learns fastest while errors are large; the other two
terms take over as it shrinks, and keep outlines sharp. The KL term, tiny as in arXiv:2112.10752,
only keeps latents from drifting.

Half of the pictures are scenes, half are characters with oddities: an autoencoder that had seen
scenes alone smeared the marks of subjects, and what it cannot keep, no fine-tuning can teach.

From a base on, its U-Net knows what latents of scenes look like, so these are held where they are,
by `latent_weight |s (z - z_base)|^2` with the base's scaling factor s; those of oddities are free.
The base may be one for pictures of half the side: then it encodes the picture's 2 x 2 means.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from tlab_diffusion.pipelines.latents import to_tensor
from tlab_diffusion.pretraining.stage import NewBatch, StageConfig


@dataclass(frozen=True, kw_only=True)
class VaeConfig(StageConfig):
    """The settings of the autoencoder in the recipe."""

    channels: tuple[int, ...]
    num_scenes: int  # drawn once, seen many times
    num_characters: int  # with oddities, six scenes each
    sharpness_weight: float
    kl_weight: float
    latent_weight: float  # of how far latents move from a base's


class VaeLoss(nn.Module):
    r"""The loss at the head of this file, of pictures x (B, 3, H, W) in [-1, 1].

    Args:
        vae: the autoencoder.
        config: the weights.
        base: the autoencoder from which training of `vae` starts, if there is one.
    """

    def __init__(self, vae: AutoencoderKL, config: VaeConfig, base: AutoencoderKL | None = None):
        super().__init__()
        self.vae, self.config = vae, config
        # In a list, so that it is no part of what is trained, averaged and saved.
        self.base = [] if base is None else [base.requires_grad_(False)]

    def forward(self, x: Tensor, noise: Tensor, is_scene: Tensor) -> Tensor:
        r"""The loss; `is_scene` (B,) bool tells scenes from characters with oddities."""
        posterior = self.vae.encode(x).latent_dist
        x_hat = self.vae.decode(posterior.mean + posterior.std * noise).sample.float()
        error = x - x_hat
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        sharpness = error.abs().mean() + edges
        kl = posterior.kl().float().mean() / noise[0].numel()
        weights = self.config
        loss = error.square().mean() + weights.sharpness_weight * sharpness + weights.kl_weight * kl
        return loss + weights.latent_weight * self._moved(x, posterior.mean, is_scene)

    def _moved(self, x: Tensor, mean: Tensor, is_scene: Tensor) -> Tensor:
        """The squared distance of scenes' latents (B, C, h, w) from the base's, in its scale."""
        if not self.base:
            return mean.new_zeros(())
        base = self.base[0].to(x.device)
        smaller = x.shape[-1] // base.config.sample_size
        with torch.no_grad():
            before = base.encode(F.avg_pool2d(x[is_scene], smaller)).latent_dist.mean
        moved = base.config.scaling_factor * (mean[is_scene] - before).float()
        return moved.square().sum() / mean.numel()


def picture_batches(scenes: np.ndarray, oddities: np.ndarray, config: VaeConfig) -> NewBatch:
    r"""Batches of pictures, the noise of their latents, and which are scenes.

    Half of them are mirrored, and half of those with oddities have their colour channels swapped
    at random: subjects that the world never shows must pass through the autoencoder too.

    Args:
        scenes: (N, S, S, 3) uint8, for the first half of a batch.
        oddities: (M, S, S, 3) uint8, for the second half.
        config: the size of a batch.
    """
    side, size = scenes.shape[1] // 2 ** (len(config.channels) - 1), config.batch_size

    def new_batch(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        parts = []
        for pictures, num in (scenes, size - size // 2), (oddities, size // 2):
            chosen = torch.randint(len(pictures), (num,), generator=generator)
            parts.append(pictures[chosen.numpy()])
        noise = torch.randn(size, 4, side, side, generator=generator)
        is_scene = torch.arange(size) < len(parts[0])
        return _vary(to_tensor(np.concatenate(parts)), is_scene, generator), noise, is_scene

    return new_batch


def _vary(x: Tensor, is_scene: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror pictures (B, 3, H, W), and recolour those that are no scenes."""
    mirrored, recoloured = torch.rand(2, len(x), 1, 1, 1, generator=generator) < 0.5
    x = torch.where(mirrored, x.flip(3), x)
    channels = torch.randperm(3, generator=generator)
    return torch.where(recoloured & ~is_scene[:, None, None, None], x[:, channels], x)
