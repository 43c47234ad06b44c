r"""The class pictures: drawn by the original model, in large batches, and kept as latents.

They are what the model believed of the class before it met the subject; the prior-preservation
loss holds it to that (Section 3.3, arXiv:2208.12242). They are never decoded: training reads
latents, so a picture would only be encoded again, with a loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tlab_diffusion.diffusion.guidance import guided
from tlab_diffusion.diffusion.losses import Denoiser
from tlab_diffusion.diffusion.samplers import dpm_solver_pp_2m, spaced_timesteps
from tlab_diffusion.dreambooth.cache.latents import read_cache
from tlab_diffusion.dreambooth.data.batches import PRIOR
from tlab_diffusion.files import file_lock
from tlab_diffusion.pipelines import embed
from tlab_diffusion.training import checkpoints, fingerprint, hardware
from tlab_diffusion.training.generators import generator_for
from tlab_diffusion.training.precision import autocast

SOLVER, STEPS = "DPM-Solver++(2M)", 15
DRAWN_AT_ONCE = 32  # at most
# What the U-Net needs for a place of a guided picture's latents, in bytes: counted for Stable
# Diffusion 1.5 in float32, with fused attention.
BYTES_A_PLACE = 2**16


@dataclass(frozen=True, kw_only=True)
class PriorSettings:
    """All that the latents depend on; picture k is the same, however many there are."""

    model: str  # the fingerprint of the pipeline's weights
    prompt: str
    guidance_scale: float
    seed: int
    shape: tuple[int, int, int]  # of one picture's latents
    precision: str
    solver: str = SOLVER
    steps: int = STEPS

    def file(self, cache: Path) -> Path:
        """Where they are kept."""
        return cache / "prior" / f"{fingerprint.content_key(self)}.safetensors"


def draw_prior(pipeline, settings: PriorSettings, num: int, cache: Path) -> Iterator[int]:
    r"""Draw what is missing of `num` class pictures, a batch at a time.

    Every batch is kept as soon as it is drawn, and an interruption costs one batch at most.
    Several processes may draw the same pictures: they take turns.

    Args:
        pipeline: the original Stable Diffusion pipeline.
        settings: which pictures.
        num: how many there shall be.
        cache: folder where they are kept.

    Yields:
        How many there are, after each batch.
    """
    path, done = settings.file(cache), 0
    while done < num:
        with file_lock(path):
            kept = read_cache(path)
            latents = torch.empty(0, *settings.shape) if kept is None else kept["latents"]
            if len(latents) < num:
                end = min(num, len(latents) + _at_once(settings.shape, pipeline.device))
                numbers = range(len(latents), end)
                latents = torch.cat([latents, _draw(pipeline, settings, numbers)])
                checkpoints.save(path, {"latents": latents})
        done = len(latents)
        yield min(done, num)


def _at_once(shape: tuple[int, int, int], device: torch.device) -> int:
    """How many pictures are drawn at a time: in half of the memory that is free."""
    places = shape[1] * shape[2]
    fitting = hardware.free_memory(device) // (2 * BYTES_A_PLACE * places)
    return max(1, min(DRAWN_AT_ONCE, fitting))


def load_prior(settings: PriorSettings, num: int, cache: Path) -> Tensor:
    """The first `num` latents, (num, C, h, w), which `draw_prior` has drawn."""
    return checkpoints.load(settings.file(cache))["latents"][:num].contiguous()


@torch.inference_mode()
def _draw(pipeline, settings: PriorSettings, numbers: range) -> Tensor:
    """The latents of these pictures, on the CPU."""
    device = pipeline.device
    alphas_cumprod = pipeline.scheduler.alphas_cumprod.to(device)
    streams = [generator_for(settings.seed, PRIOR, number) for number in numbers]
    noise = torch.stack([torch.randn(settings.shape, generator=each) for each in streams])
    with autocast(device, settings.precision):
        path = dpm_solver_pp_2m(
            _denoiser(pipeline, settings, len(numbers)),
            noise.to(device),
            alphas_cumprod,
            spaced_timesteps(len(alphas_cumprod), settings.steps),
            prediction_type=pipeline.scheduler.config.prediction_type,
        )
        *_, last = path
    return last.x.float().cpu().contiguous()


def _denoiser(pipeline, settings: PriorSettings, num: int) -> Denoiser:
    words, no_words = embed(pipeline, [settings.prompt, ""]).unsqueeze(1)
    words, no_words = (each.expand(num, -1, -1) for each in (words, no_words))

    def model(x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return pipeline.unet(x_t, t, encoder_hidden_states=condition).sample.float()

    if settings.guidance_scale == 1:  # guidance would only cost a second question
        return lambda x_t, t: model(x_t, t, words)
    return guided(model, words, no_words, settings.guidance_scale)
