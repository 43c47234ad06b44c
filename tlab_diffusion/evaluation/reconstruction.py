"""What an autoencoder keeps of pictures."""

import numpy as np
import torch
from torch import Tensor

from tlab_diffusion.evaluation.pictures import to_tensor


@torch.inference_mode()
def reconstruct(vae, pictures: np.ndarray) -> np.ndarray:
    r"""What an autoencoder keeps of pictures (N, 64, 64, 3) uint8, by its latents' means."""
    parts = []
    for start in range(0, len(pictures), 64):
        x = to_tensor(pictures[start : start + 64]).to(vae.device)
        x_hat = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        parts.append(((x_hat + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(parts)


@torch.inference_mode()
def reconstruction_psnr(vae, pictures: np.ndarray) -> float:
    r"""Mean PSNR of reconstructions through the latents' means, in dB.

    Args:
        vae: the autoencoder.
        pictures: (N, 64, 64, 3) uint8.
    """
    values = []
    for start in range(0, len(pictures), 64):
        x = to_tensor(pictures[start : start + 64]).to(vae.device)
        x_hat = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        values.append(psnr(x, x_hat))
    return torch.cat(values).mean().item()


def psnr(a: Tensor, b: Tensor) -> Tensor:
    r"""Peak signal-to-noise ratio of each pair, in dB; pictures (B, 3, H, W) in [-1, 1].

    `10 log10(4 / mean (a - b)^2)`, for the range is 2 wide; (B,).
    """
    return 10 * (4 / (a - b).square().flatten(1).mean(dim=1)).log10()
