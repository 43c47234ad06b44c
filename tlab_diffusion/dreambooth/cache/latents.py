r"""What is computed once: the subject's latents, and what the text encoder says while it is frozen.

The autoencoder gives each picture a *distribution* of latents. Its mean and standard deviation are
kept, and every step draws from them anew, as if the picture had been encoded again.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tlab_diffusion.errors import InputError
from tlab_diffusion.files import file_lock
from tlab_diffusion.pipelines import embed
from tlab_diffusion.pipelines.latents import latent_moments
from tlab_diffusion.training import checkpoints
from tlab_diffusion.training.fingerprint import content_key, weights_fingerprint


def latent_distributions(vae: nn.Module, pictures: np.ndarray, cache: Path, model: str) -> Tensor:
    r"""Mean and standard deviation of the latents of pictures, times the scaling factor.

    Args:
        vae: an `AutoencoderKL`.
        pictures: (N, H, W, 3) uint8.
        cache: folder where they are kept, by the model and the pictures' content and size.
        model: the fingerprint of the pipeline's weights.

    Returns:
        (N, 2C, h, w) float32: means, then standard deviations.
    """
    path = (
        cache / "latents" / f"{content_key(model, vae.config.scaling_factor, pictures)}.safetensors"
    )
    with file_lock(path):
        kept = read_cache(path)
        if kept is None:
            kept = {"moments": latent_moments(vae, pictures)}
            checkpoints.save(path, kept)
    return kept["moments"]


@torch.no_grad()
def text_embeddings(pipeline, prompts: list[str]) -> Tensor:
    r"""What a frozen text encoder says of the prompts, once for the whole run: (P, L, D)."""
    return embed(pipeline, prompts)


def model_fingerprint(pipeline) -> str:
    """A short name for what a pipeline knows: its weights, the numbers of its words, its noise."""
    words = sorted(pipeline.tokenizer.get_vocab().items())
    scheduler = pipeline.scheduler
    noise = scheduler.alphas_cumprod.cpu().numpy(), scheduler.config.prediction_type
    return content_key(
        weights_fingerprint((pipeline.unet, pipeline.text_encoder, pipeline.vae)), words, *noise
    )


def read_cache(path: Path) -> dict[str, Tensor] | None:
    """What a cache file holds; None if there is none, or a damaged one, which is made again."""
    try:
        return checkpoints.load(path)
    except InputError:
        return None
