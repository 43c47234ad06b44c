r"""The latent walk of lesson 06: between two noises, and between two prompts."""

from collections.abc import Sequence
from typing import NamedTuple

import ipywidgets
import numpy as np
import torch
from torch import Tensor

from tlab_diffusion.course.widgets.base import LivePicture
from tlab_diffusion.diffusion.latents import interpolation_weights, lerp, rms, slerp
from tlab_diffusion.diffusion.samplers import dpm_solver_pp_2m, spaced_timesteps
from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines import decode, denoiser, embed, initial_noise, load
from tlab_diffusion.plots.walk_panels import WalkPanels

NOISES, PROMPTS = "between two noises", "between two prompts"
PROMPT_PAIR = ("a purple cat in the snow", "a green dragon in a meadow")
CURVE = 101  # weights at which the length of the noise is drawn


class Walks(NamedTuple):
    """The pictures of two walks with N steps each."""

    prompts: tuple[str, str]
    seeds: tuple[int, int]
    weights: list[float]  # N
    noises: tuple[Tensor, Tensor]  # (1, 4, h, w), the ends
    pictures: dict[str, np.ndarray]  # {walk: (N, H, W, 3) uint8}


@torch.inference_mode()
def draw_walks(
    pipeline,
    prompts: Sequence[str] = PROMPT_PAIR,
    seeds: Sequence[int] = (0, 1),
    *,
    num_frames: int = 7,
    num_inference_steps: int = 10,
    guidance_scale: float = 5.0,
) -> Walks:
    r"""Draw two walks in one batch: from noise to noise under the first prompt (slerp), and from
    prompt to prompt in the first noise (a straight line between the embeddings).

    Args:
        pipeline: a Stable Diffusion pipeline that predicts epsilon.
        prompts: two.
        seeds: two, of the noises.
        num_frames: N, at least 2.
        num_inference_steps: of DPM-Solver++(2M).
        guidance_scale: see `guidance.cfg`.

    Raises:
        InputError: on anything but two prompts and two seeds, or fewer than two frames.
    """
    for name, pair in (("prompts", prompts), ("seeds", seeds)):
        if isinstance(pair, str) or len(pair) != 2:
            raise InputError(name, got=repr(pair), expected="two")
    weights = interpolation_weights(num_frames)
    first, second = (initial_noise(pipeline, seed, 0) for seed in seeds)
    one, other, nothing = embed(pipeline, [*prompts, ""]).split(1)
    noises = [slerp(first, second, weight) for weight in weights] + num_frames * [first]
    texts = num_frames * [one] + [lerp(one, other, weight) for weight in weights]
    text = torch.cat(texts)
    model = denoiser(pipeline.unet, text, nothing, guidance_scale)
    alphas_cumprod = pipeline.scheduler.alphas_cumprod.to(pipeline.device)
    path = spaced_timesteps(len(alphas_cumprod), num_inference_steps)
    *_, last = dpm_solver_pp_2m(model, torch.cat(noises), alphas_cumprod, path)
    pictures = decode(pipeline.vae, last.x)
    both = {NOISES: pictures[:num_frames], PROMPTS: pictures[num_frames:]}
    return Walks(tuple(prompts), tuple(seeds), weights, (first.cpu(), second.cpu()), both)


class LatentWalk(LivePicture):
    """Two interpolations between pictures; see `latent_walk`."""

    wide = ("position",)
    timed = ("position",)

    def __init__(self, walks: Walks):
        self._walks = walks
        self._arc, self._line = (
            np.array(
                [rms(walk(*walks.noises, weight)).item() for weight in interpolation_weights(CURVE)]
            )
            for walk in (slerp, lerp)
        )
        super().__init__("latent-walk", "Walks between pictures", _controls(len(walks.weights)))

    def new_figure(self) -> WalkPanels:
        walks = self._walks
        return WalkPanels(walks.pictures, np.array(walks.weights), self._arc, self._line)

    def draw(self, figure: WalkPanels, settings: dict, changed: set[str]) -> str:
        name, position = settings["walk"], settings["position"]
        walks, stations = self._walks, len(self._walks.weights)
        if name not in walks.pictures:
            expected = "one of " + ", ".join(map(repr, walks.pictures))
            raise InputError("walk", got=repr(name), expected=expected)
        if not 0 <= position < stations:
            raise InputError("position", got=str(position), expected=f"0 to {stations - 1}")
        weight = walks.weights[position]
        arc, line = (rms(walk(*walks.noises, weight)).item() for walk in (slerp, lerp))
        figure.show(name, position, arc if name == NOISES else None)
        start = f"position = {position} of 0 to {stations - 1}, {name}: weight {weight:.2f}."
        if name == NOISES:
            return (
                f"{start} Always “{walks.prompts[0]}”, from the noise of seed {walks.seeds[0]} to "
                f"that of seed {walks.seeds[1]}.\nLength of this noise: {arc:.2f} on the arc; on a "
                f"straight line it would be {line:.2f}."
            )
        return (
            f"{start} Always the noise of seed {walks.seeds[0]}.\n"
            f"From “{walks.prompts[0]}” to “{walks.prompts[1]}”."
        )


def latent_walk(pipeline=None, *arguments, **options) -> LatentWalk:
    r"""A widget: slide from one noise to another, or from one prompt to another.

    The pictures are drawn once, when it is made; sliding shows them.

    Args:
        pipeline: a Stable Diffusion pipeline; `picturebook` when left out.
        arguments, options: as `draw_walks` takes them.

    Raises:
        InputError: as `draw_walks`.
    """
    if pipeline is None:
        pipeline = load("picturebook")
    return LatentWalk(draw_walks(pipeline, *arguments, **options))


def _controls(stations: int) -> dict[str, ipywidgets.ValueWidget]:
    middle = stations // 2
    return {
        "walk": ipywidgets.Dropdown(options=[NOISES, PROMPTS], description="walk"),
        "position": ipywidgets.IntSlider(middle, 0, stations - 1, description="position"),
    }
