r"""From pictures to the latents that a U-Net is trained on."""

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm


def to_tensor(pictures: np.ndarray) -> Tensor:
    r"""Pictures (B, H, W, 3) uint8 to (B, 3, H, W) float32 in [-1, 1], on the CPU."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def latent_moments(
    vae: nn.Module, pictures: np.ndarray, *, batch_size: int = 4, progress: bool = False
) -> Tensor:
    r"""Mean and standard deviation of the latents of pictures, times the scaling factor.

    Args:
        vae: an `AutoencoderKL`; it encodes on its own device, under the caller's autocast.
        pictures: (N, H, W, 3) uint8.
        batch_size: pictures encoded at a time; the encoder needs much memory at 512 x 512.
        progress: show a progress bar.

    Returns:
        (N, 2C, h, w) float32 on the CPU: the means, then the standard deviations. Contiguous.
    """
    moments = []
    for start in tqdm(range(0, len(pictures), batch_size), unit="batch", disable=not progress):
        x = to_tensor(pictures[start : start + batch_size])
        posterior = vae.encode(x.to(vae.device, vae.dtype)).latent_dist
        both = torch.cat([posterior.mean, posterior.std], dim=1).float()
        moments.append((both * vae.config.scaling_factor).cpu())
    # The encoder's memory layout must not decide how noise is laid out later.
    return torch.cat(moments).contiguous()
