r"""From prompts to pictures: the course's own sampler drives a pipeline's parts."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tlab_diffusion.diffusion.guidance import guided
from tlab_diffusion.diffusion.samplers import Step, ddim, spaced_timesteps
from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines.prompts import check_prompts, embed

PER_PROMPT = 100_000  # numbers kept for each prompt, so that `num` moves no other picture


def sample(
    pipeline,
    prompts: Sequence[str],
    *,
    num: int = 1,
    seed: int = 0,
    steps: int = 25,
    guidance_scale: float = 5.0,
    batch_size: int = 32,
    progress: bool = False,
    solver: Callable[..., Iterator[Step]] = ddim,
) -> Iterator[np.ndarray]:
    r"""Draw pictures with DDIM, or another solver, and classifier-free guidance.

    The noise of a picture follows from the seed, the prompt's place in the list and the picture's
    own number, so the same seed draws the same pictures, however many there are and however they
    are batched. A safety checker, where the pipeline has one, sees every picture.

    Args:
        pipeline: from `load`; epsilon- or v-prediction.
        prompts: each is drawn `num` times.
        num: pictures a prompt.
        seed: integer >= 0.
        steps: of the sampler.
        guidance_scale: 1 is off.
        batch_size: pictures at a time.
        progress: shows a bar with rate and estimate.
        solver: a sampler of `diffusion.samplers`, called as `ddim` is.

    Yields:
        (H, W, 3) uint8, one a picture: all of the first prompt, then of the next.

    Raises:
        InputError: no prompt, or a number out of range.
    """
    prompts = check_prompts(prompts)
    for name, value in {"num": num, "steps": steps, "batch_size": batch_size}.items():
        _check_integer(name, value, lowest=1)
    _check_integer("seed", seed, lowest=0)
    _check_steps(pipeline, steps)
    draw = partial(_draw_batch, pipeline, steps=steps, guidance_scale=guidance_scale, solver=solver)
    return _sample(pipeline, prompts, num, seed, steps, batch_size, draw, progress)


def _sample(pipeline, prompts, num, seed, steps, batch_size, draw, progress):
    from tqdm.auto import tqdm

    wanted = [prompt for prompt in prompts for _ in range(num)]
    numbers = [place * PER_PROMPT + n for place in range(len(prompts)) for n in range(num)]
    with tqdm(total=len(wanted) * steps, unit="step", disable=not progress) as bar:
        for start in range(0, len(wanted), batch_size):
            batch = wanted[start : start + batch_size]
            own = numbers[start : start + batch_size]
            noise = torch.cat([initial_noise(pipeline, seed, number) for number in own])
            yield from draw(batch, noise, bar)


@torch.inference_mode()
def _draw_batch(
    pipeline, prompts, noise: Tensor, bar, *, steps, guidance_scale, solver
) -> np.ndarray:
    """One batch of pictures, (B, H, W, 3) uint8."""
    scheduler = pipeline.scheduler
    alphas_cumprod = scheduler.alphas_cumprod  # its values go to the device when they are needed
    different = sorted({*prompts, ""})  # each is encoded once
    embedded = dict(zip(different, embed(pipeline, different), strict=True))
    words = torch.stack([embedded[prompt] for prompt in prompts])
    denoiser = _denoiser(pipeline.unet, words, embedded[""], guidance_scale)
    timesteps = spaced_timesteps(len(alphas_cumprod), steps)
    path = solver(
        denoiser,
        noise,
        alphas_cumprod,
        timesteps,
        prediction_type=scheduler.config.prediction_type,
    )
    for step in path:
        x0 = step.x
        bar.update(len(prompts))
    return _approved(pipeline, decode(pipeline.vae, x0))


def _denoiser(unet, words: Tensor, no_words: Tensor, guidance_scale: float):
    def model(x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        # Where autocast computes in half precision, the solver still adds up in the noise's own.
        return unet(x_t, t, encoder_hidden_states=condition).sample.to(x_t.dtype)

    if guidance_scale == 1:
        return lambda x_t, t: model(x_t, t, words)
    return guided(model, words, no_words.expand_as(words), guidance_scale)


def _approved(pipeline, pictures: np.ndarray) -> np.ndarray:
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
    # Mixed, so that no two (seed, number) meet, and any size of seed will do.
    mixed = np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(mixed[0]))
    return torch.randn(shape, generator=generator).to(pipeline.device, unet.dtype)


def _check_steps(pipeline, steps: int) -> None:
    """Refuse more steps than the model was trained with."""
    most = pipeline.scheduler.config.num_train_timesteps
    if steps > most:
        raise InputError("steps", got=str(steps), expected=f"at most {most}")


def _check_integer(name: str, value: object, lowest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise InputError(name, got=repr(value), expected=f"an integer from {lowest} up")
