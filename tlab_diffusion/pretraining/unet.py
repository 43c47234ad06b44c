r"""The U-Net of `picturebook`: learns to predict the noise in latents, told by their captions.

Latents and captions are prepared once. A step draws latents from the encoder's distribution, adds
noise at timesteps spread evenly over the batch, and forgets one caption in ten, so that the model
can also answer without one (arXiv:2207.12598). The text encoder learns along. The middle of the
picture, where the character stands, counts more than the backdrop, which is learnt early.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import CLIPTextModel

from tlab_diffusion.diffusion.losses import min_snr_weights
from tlab_diffusion.diffusion.process import gather, q_sample
from tlab_diffusion.evaluation.pictures import to_tensor
from tlab_diffusion.pretraining.loop import Draw, StageConfig
from tlab_diffusion.pretraining.networks import new_scheduler
from tlab_diffusion.pretraining.pace import autocast


@dataclass(frozen=True, kw_only=True)
class UnetConfig(StageConfig):
    """The U-Net's numbers in the recipe."""

    channels: tuple[int, ...]
    num_scenes: int
    captions_per_scene: int  # each leaves other factors out
    caption_dropout: float
    snr_gamma: float
    subject_weight: float  # of the middle of the picture, against 1 around it


class TextToImage(nn.Module):
    r"""U-Net and text encoder, with the noise loss of latents x0 under captions' token ids.

    Args:
        unet: predicts the noise.
        text_encoder: its last hidden states are what the U-Net reads.
        config: gamma of min-SNR weighting (arXiv:2303.09556), and the subject's weight.
    """

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, config: UnetConfig):
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder
        alphas_cumprod = new_scheduler().alphas_cumprod
        self.register_buffer("alphas_cumprod", alphas_cumprod, persistent=False)
        weights = min_snr_weights(alphas_cumprod, gamma=config.snr_gamma)
        self.register_buffer("weights", weights, persistent=False)
        emphasis = subject_emphasis(unet.config.sample_size, config.subject_weight)
        self.register_buffer("emphasis", emphasis, persistent=False)

    def forward(self, x0: Tensor, t: Tensor, noise: Tensor, ids: Tensor) -> Tensor:
        words = self.text_encoder(ids).last_hidden_state
        x_t = q_sample(x0, t, noise, self.alphas_cumprod)
        errors = (self.unet(x_t, t, words).sample.float() - noise).square()
        return (gather(self.weights, t, errors) * self.emphasis * errors).mean()


def subject_emphasis(side: int, weight: float) -> Tensor:
    r"""Weights (side, side) of a latent's places: `weight` where characters stand, 1 around them.

    Divided by their mean, so that the loss keeps its scale.
    """
    places = torch.ones(side, side)
    top, bottom, left, right = 3 * side // 16, 14 * side // 16, 4 * side // 16, 12 * side // 16
    places[top:bottom, left:right] = weight
    return places / places.mean()


@torch.inference_mode()
def latent_moments(vae: AutoencoderKL, pictures: np.ndarray, progress: bool = True) -> Tensor:
    r"""Mean and standard deviation of the latents of pictures (N, 64, 64, 3), scaled.

    Returns:
        (N, 8, 16, 16) float16: means, then standard deviations, both times the scaling factor.
    """
    moments = []
    for start in tqdm(range(0, len(pictures), 64), unit="batch", disable=not progress):
        x = to_tensor(pictures[start : start + 64]).to(vae.device)
        with autocast(vae.device):
            latents = vae.encode(x).latent_dist
        both = torch.cat([latents.mean, latents.std], dim=1).float() * vae.config.scaling_factor
        moments.append(both.half().cpu())
    return torch.cat(moments)


def draw_latents(moments: Tensor, captions: Tensor, no_caption: Tensor, config: UnetConfig) -> Draw:
    r"""Batches of latents, timesteps, noise and token ids.

    Args:
        moments: (N, 8, 16, 16), see `latent_moments`.
        captions: (N, K, L) token ids.
        no_caption: (L,) token ids of the empty caption.
        config: batch size and caption dropout.
    """
    size, num_train_timesteps = config.batch_size, new_scheduler().config.num_train_timesteps

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        chosen = torch.randint(len(moments), (size,), generator=generator)
        wording = torch.randint(captions.shape[1], (size,), generator=generator)
        ids = captions[chosen, wording].long()
        ids[torch.rand(size, generator=generator) < config.caption_dropout] = no_caption
        mean, std = moments[chosen].float().chunk(2, dim=1)
        x0 = mean + std * torch.randn(mean.shape, generator=generator)
        # Evenly spread timesteps make a calmer gradient (appendix I.1, arXiv:2107.00630).
        spread = (torch.arange(size) + torch.rand(1, generator=generator)) / size
        t = (spread * num_train_timesteps).long().clamp(max=num_train_timesteps - 1)
        return x0, t, torch.randn(mean.shape, generator=generator), ids

    return draw
