r"""The U-Net of `picturebook`: trained to predict the noise in latents, given their captions.

Latents and captions are prepared once. A step draws latents from the encoder's distribution, adds
noise at timesteps spread evenly over the batch, and forgets one caption in ten, so that the model
can also answer without one (arXiv:2207.12598). The text encoder learns along. Places of a latent do
not count alike: the character counts more than the backdrop, which is learnt early, and the face
more still: it is a twentieth of the picture, and all that shows a mood. Some of the timesteps come
from the middle of the chain, where such details are decided. Without both, no mood was learnt in
10 600 steps; with both, captions began to tell in the first 100.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from tlab_diffusion.diffusion.losses import min_snr_weights
from tlab_diffusion.diffusion.process import extract, q_sample
from tlab_diffusion.picturebook import Scene
from tlab_diffusion.picturebook.render import face_circle
from tlab_diffusion.pretraining.networks import new_scheduler
from tlab_diffusion.pretraining.stage import NewBatch, StageConfig

# Timesteps at which details of a few latents can be seen, but not yet told for sure.
MIDDLE = (250, 700)


@dataclass(frozen=True, kw_only=True)
class UnetConfig(StageConfig):
    """The U-Net's numbers in the recipe."""

    channels: tuple[int, ...]
    num_scenes: int
    captions_per_scene: int  # each leaves other factors out
    caption_dropout: float
    snr_gamma: float
    subject_weight: float  # of the middle of the picture, against 1 around it
    face_weight: float
    middle_share: float  # of the timesteps, drawn from `MIDDLE` alone


class TextToImage(nn.Module):
    r"""U-Net and text encoder, with the noise loss of latents x0 under captions' token ids.

    Args:
        unet: predicts the noise.
        text_encoder: its last hidden states are what the U-Net reads.
        config: gamma of min-SNR weighting (arXiv:2303.09556).
    """

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, config: UnetConfig):
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder
        alphas_cumprod = new_scheduler().alphas_cumprod
        self.register_buffer("alphas_cumprod", alphas_cumprod, persistent=False)
        weights = min_snr_weights(alphas_cumprod, gamma=config.snr_gamma)
        self.register_buffer("weights", weights, persistent=False)

    def forward(
        self, x0: Tensor, t: Tensor, noise: Tensor, ids: Tensor, emphasis: Tensor
    ) -> Tensor:
        r"""The loss; `emphasis` (B, 1, S, S) says how much each place of each latent counts."""
        words = self.text_encoder(ids).last_hidden_state
        x_t = q_sample(x0, t, noise, self.alphas_cumprod)
        errors = (self.unet(x_t, t, words).sample.float() - noise).square()
        places = emphasis / emphasis.mean(dim=(1, 2, 3), keepdim=True)  # the loss keeps its scale
        return (extract(self.weights, t, errors) * places * errors).mean()


def emphasis_of(scenes: Iterable[Scene], side: int, config: UnetConfig) -> Tensor:
    r"""How much each place of the scenes' latents counts: (N, 1, side, side) float16.

    1 in the backdrop, `subject_weight` where characters stand, `face_weight` in the face.
    """
    around = torch.ones(side, side)
    top, bottom, left, right = 3 * side // 16, 14 * side // 16, 4 * side // 16, 12 * side // 16
    around[top:bottom, left:right] = config.subject_weight
    middles = (torch.arange(side) + 0.5) / side
    maps = []
    for scene in scenes:
        x, y, radius = face_circle(scene) or (0.0, 0.0, 0.0)
        inside = (middles[None] - x).square() + (middles[:, None] - y).square() < radius**2
        maps.append(torch.where(inside, config.face_weight, around).half())
    return torch.stack(maps)[:, None]


def latent_batches(
    moments: Tensor, captions: Tensor, no_caption: Tensor, emphasis: Tensor, config: UnetConfig
) -> NewBatch:
    r"""Batches of latents, timesteps, noise, token ids and emphasis.

    Args:
        moments: (N, 8, 16, 16), see `latent_moments`.
        captions: (N, K, L) token ids.
        no_caption: (L,) token ids of the empty caption.
        emphasis: (N, 1, 16, 16), see `emphasis_of`.
        config: batch size and caption dropout.
    """
    size = config.batch_size

    def new_batch(generator: torch.Generator) -> tuple[Tensor, ...]:
        chosen = torch.randint(len(moments), (size,), generator=generator)
        wording = torch.randint(captions.shape[1], (size,), generator=generator)
        ids = captions[chosen, wording].long()
        ids[torch.rand(size, generator=generator) < config.caption_dropout] = no_caption
        mean, std = moments[chosen].float().chunk(2, dim=1)
        x0 = mean + std * torch.randn(mean.shape, generator=generator)
        middle = round(config.middle_share * size)
        whole = (0, new_scheduler().config.num_train_timesteps)
        t = torch.cat(
            [_spread(size - middle, *whole, generator), _spread(middle, *MIDDLE, generator)]
        )
        noise = torch.randn(mean.shape, generator=generator)
        return x0, t, noise, ids, emphasis[chosen].float()

    return new_batch


def _spread(num: int, first: int, end: int, generator: torch.Generator) -> Tensor:
    """Timesteps (num,) in [first, end), evenly spread: a calmer gradient (appendix I.1,
    arXiv:2107.00630)."""
    places = (torch.arange(num) + torch.rand(1, generator=generator)) / max(1, num)
    return (first + places * (end - first)).long().clamp(max=end - 1)
