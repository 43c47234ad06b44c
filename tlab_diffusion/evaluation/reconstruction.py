"""What an autoencoder keeps of pictures."""

import numpy as np
import torch

from tlab_diffusion.diffusion.latents import psnr
from tlab_diffusion.pipelines.latents import to_tensor


@torch.inference_mode()
def reconstruct(vae, pictures: np.ndarray) -> np.ndarray:
    r"""What an autoencoder keeps of pictures (N, S, S, 3) uint8, by its latents' means."""
    parts = []
    for start in range(0, len(pictures), 64):
        x = to_tensor(pictures[start : start + 64]).to(vae.device)
        x_hat = vae.decode(vae.encode(x).latent_dist.mean).sample.float().clamp(-1, 1)
        parts.append(((x_hat + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(parts)


def reconstruction_psnr(vae, pictures: np.ndarray) -> float:
    r"""Mean PSNR of reconstructions, in dB, of pictures (N, S, S, 3) uint8."""
    return psnr(to_tensor(pictures), to_tensor(reconstruct(vae, pictures))).mean().item()
