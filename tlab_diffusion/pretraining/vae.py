r"""The autoencoder of `picturebook`: pictures (3, 64, 64) to latents (4, 16, 16) and back.

Loss: `|e|^2 + sharpness_weight (|e| + |grad e|) + kl_weight KL(q(z | x) || N(0, I))` with
e = x - x_hat, means over elements. The square learns fastest while errors are large; the other two
terms take over as it shrinks, and keep outlines sharp. The KL term, tiny as in arXiv:2112.10752,
only keeps latents from drifting.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from tlab_diffusion.evaluation.pictures import to_tensor
from tlab_diffusion.pretraining.loop import Draw, StageConfig


@dataclass(frozen=True, kw_only=True)
class VaeConfig(StageConfig):
    """The autoencoder's numbers in the recipe."""

    channels: tuple[int, ...]
    num_scenes: int  # drawn once, seen many times
    sharpness_weight: float
    kl_weight: float


class VaeLoss(nn.Module):
    r"""The loss at the head of this file, of pictures x (B, 3, H, W) in [-1, 1].

    Args:
        vae: the autoencoder.
        config: the weights.
    """

    def __init__(self, vae: AutoencoderKL, config: VaeConfig):
        super().__init__()
        self.vae, self.config = vae, config

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        posterior = self.vae.encode(x).latent_dist
        x_hat = self.vae.decode(posterior.mean + posterior.std * noise).sample.float()
        error = x - x_hat
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        sharpness = error.abs().mean() + edges
        kl = posterior.kl().float().mean() / noise[0].numel()
        weights = self.config
        return error.square().mean() + weights.sharpness_weight * sharpness + weights.kl_weight * kl


def freeze_encoder(vae: AutoencoderKL) -> None:
    """Train the decoder alone: the latents stay as they are, and so does what a U-Net knows."""
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)


def draw_pictures(pictures: np.ndarray, config: VaeConfig) -> Draw:
    r"""Batches of pictures (N, 64, 64, 3) uint8, with the noise of their latents.

    Half of them are mirrored, and half have their colour channels swapped at random: subjects that
    the world never shows must pass through the autoencoder too.
    """
    side = pictures.shape[1] // 2 ** (len(config.channels) - 1)

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(pictures), (config.batch_size,), generator=generator)
        noise = torch.randn(config.batch_size, 4, side, side, generator=generator)
        return _vary(to_tensor(pictures[chosen.numpy()]), generator), noise

    return draw


def _vary(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror and recolour pictures (B, 3, H, W)."""
    mirrored, recoloured = torch.rand(2, len(x), 1, 1, 1, generator=generator) < 0.5
    x = torch.where(mirrored, x.flip(3), x)
    channels = torch.randperm(3, generator=generator)
    return torch.where(recoloured, x[:, channels], x)
