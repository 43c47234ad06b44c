"""Latents to train on: means and standard deviations, scaled."""

import numpy as np
import torch

from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.pipelines.latents import latent_moments, to_tensor

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


@torch.no_grad()
def test_latents_are_scaled_means_and_deviations_however_they_are_batched():
    vae = tiny_pipeline().vae
    posterior = vae.encode(to_tensor(PICTURES)).latent_dist
    expected = vae.config.scaling_factor * torch.cat([posterior.mean, posterior.std], dim=1)
    for batch_size in (2, 5):
        moments = latent_moments(vae, PICTURES, batch_size=batch_size)
        assert moments.dtype == torch.float32 and moments.is_contiguous()
        assert not moments.requires_grad and not moments.is_inference()
        torch.testing.assert_close(moments, expected, rtol=1e-5, atol=1e-5)
