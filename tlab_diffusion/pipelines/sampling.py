r"""From prompts to pictures: the course's own samplers drive a pipeline's parts."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from tlab_diffusion.diffusion.samplers import spaced_timesteps
from tlab_diffusion.errors import InputError, check_integer
from tlab_diffusion.pipelines.denoiser import denoiser
from tlab_diffusion.pipelines.prompts import check_prompts, embed
from tlab_diffusion.pipelines.sampler_settings import DEFAULT, SOLVERS, SamplerSettings
from tlab_diffusion.training.generators import generator_for

PER_PROMPT = 100_000  # numbers kept for each prompt, so that `num` moves no other picture


@torch.inference_mode()
def sample(
    pipeline,
    prompts: Sequence[str],
    *,
    num: int = 1,
    seed: int = 0,
    steps: int | None = None,
    guidance_scale: float | None = None,
    solver: str | None = None,
    batch_size: int = 32,
    progress: bool = False,
) -> Iterator[np.ndarray]:
    r"""Sample pictures with classifier-free guidance, without gradients.

    The noise of a picture follows from the seed, the prompt's place in the list and the picture's
    own number, so the same seed gives the same pictures, however many there are and however they
    are batched. A safety checker, where the pipeline has one, sees every picture.

    Args:
        pipeline: from `load`; epsilon- or v-prediction.
        prompts: each is sampled `num` times.
        num: pictures a prompt.
        seed: integer >= 0.
        steps: of the solver. This, the scale and the solver are those that the pipeline's folder
            records, or else `DEFAULT`, where left out; see `settings_of`.
        guidance_scale: 1 is off.
        solver: a name in `SOLVERS`.
        batch_size: pictures at a time.
        progress: shows a bar with rate and estimate.

    Yields:
        (H, W, 3) uint8, one a picture: all of the first prompt, then of the next.

    Raises:
        InputError: no prompt, or a number out of range; when the first picture is asked for.
    """
    prompts = check_prompts(prompts)
    check_integer("num", num)
    check_integer("batch_size", batch_size)
    check_integer("seed", seed, lowest=0)
    settings = settings_of(pipeline).override(
        solver=solver, steps=steps, guidance_scale=guidance_scale
    )
    scheduler = pipeline.scheduler
    alphas_cumprod = scheduler.alphas_cumprod  # on the CPU
    _check_steps(settings.steps, len(alphas_cumprod))
    timesteps = spaced_timesteps(len(alphas_cumprod), settings.steps)
    wanted = [
        (prompt, place * PER_PROMPT + number)
        for place, prompt in enumerate(prompts)
        for number in range(num)
    ]
    with tqdm(total=len(wanted) * settings.steps, unit="step", disable=not progress) as bar:
        for start in range(0, len(wanted), batch_size):
            texts, numbers = zip(*wanted[start : start + batch_size], strict=True)
            noise = torch.cat([initial_noise(pipeline, seed, number) for number in numbers])
            model = denoiser(
                pipeline.unet, *_prompt_embeds(pipeline, texts), settings.guidance_scale
            )
            path = SOLVERS[settings.solver].sample(
                model,
                noise,
                alphas_cumprod,
                timesteps,
                prediction_type=scheduler.config.prediction_type,
            )
            for step in path:
                latents = step.x
                bar.update(len(texts))
            yield from _checked(pipeline, decode(pipeline.vae, latents))


def settings_of(pipeline) -> SamplerSettings:
    """What a pipeline's folder records, see `load`; `DEFAULT` where it records nothing."""
    return getattr(pipeline, "sampler_settings", None) or DEFAULT


def _prompt_embeds(pipeline, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The embeddings of the texts, (B, tokens, width), and of ""; each text is encoded once."""
    different = sorted({*texts, ""})
    embeds = dict(zip(different, embed(pipeline, different), strict=True))
    return torch.stack([embeds[text] for text in texts]), embeds[""]


def _checked(pipeline, pictures: np.ndarray) -> np.ndarray:
    """The pictures, black where the pipeline's own safety checker says no."""
    if pipeline.safety_checker is None:
        return pictures
    shown = pipeline.feature_extractor(list(pictures), return_tensors="pt").to(pipeline.device)
    levels = pictures.astype(np.float32) / 255
    levels, _ = pipeline.safety_checker(
        images=levels, clip_input=shown.pixel_values.to(pipeline.unet.dtype)
    )
    return (levels * 255).round().astype(np.uint8)


def decode(vae, latents: Tensor) -> np.ndarray:
    r"""Latents (B, C, h, w), as the U-Net sees them, to pictures (B, H, W, 3) uint8."""
    pictures = vae.decode(latents / vae.config.scaling_factor).sample
    # As diffusers rounds: to [0, 1], then to the nearest of 256 levels.
    levels = (pictures.float() / 2 + 0.5).clamp(0, 1) * 255
    return levels.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def initial_noise(pipeline, seed: int, number: int) -> Tensor:
    r"""The noise of one picture, (1, C, h, w): a function of (seed, number) on every device."""
    unet = pipeline.unet
    shape = (1, unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
    return torch.randn(shape, generator=generator_for(seed, number)).to(pipeline.device, unet.dtype)


def _check_steps(steps: int, most: int) -> None:
    """Refuse more steps than the model was trained with."""
    if steps > most:
        raise InputError("steps", got=str(steps), expected=f"at most {most}")
