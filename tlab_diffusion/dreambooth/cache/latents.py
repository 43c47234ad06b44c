r"""The latents of the subject's pictures, computed once for all runs with the same model.

The autoencoder gives each picture a *distribution* of latents. Its mean and standard deviation are
cached, and every step samples from them again, as if the picture were encoded again.
"""

from pathlib import Path

import numpy as np
from torch import Tensor

from tlab_diffusion.dreambooth.families import family_of
from tlab_diffusion.training.checkpoints import load_or_compute
from tlab_diffusion.training.fingerprint import content_key


def latent_distributions(pipeline, pictures: np.ndarray, cache: Path, model: str) -> Tensor:
    r"""Mean and standard deviation of the latents of pictures, as the network reads them.

    Args:
        pipeline: with the autoencoder.
        pictures: (N, H, W, 3) uint8.
        cache: folder where they are kept, by the model and the pictures' content and size.
        model: the fingerprint of the pipeline.

    Returns:
        (N, 2C, h, w) float32 on the CPU: means, then standard deviations.

    Raises:
        InputError: the cache cannot be written.
    """
    key = content_key(model, pipeline.vae.config.scaling_factor, pictures)
    path = cache / "latents" / f"{key}.safetensors"
    family = family_of(pipeline)
    kept = load_or_compute(path, lambda: {"moments": family.encode_pictures(pipeline, pictures)})
    return kept["moments"]
