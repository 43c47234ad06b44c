r"""The attention explorer of lesson 05: which places of a picture look at which word."""

from collections.abc import Sequence
from typing import NamedTuple

import ipywidgets
import numpy as np
import torch
from torch import Tensor

from tlab_diffusion.course.widgets.base import LivePicture
from tlab_diffusion.course.widgets.guidance import PROMPT
from tlab_diffusion.diffusion import samplers
from tlab_diffusion.diffusion.guidance import guided
from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines import decode, embed, load
from tlab_diffusion.plots.attention_panels import AttentionPanels, heat_over

START, END = "(start)", "(end, padding)"  # the marks, which take attention too


class AttentionFilm(NamedTuple):
    """A picture during sampling, with the attention of its positions at each step."""

    words: list[str]  # W of them; a rare one may have had several tokens
    maps: Tensor  # (S, W, h, w), shares of attention at each of S steps
    marks: Tensor  # (S, 2), the shares of the start mark and of what follows the caption
    pictures: np.ndarray  # (S, H, W, 3) uint8, the clean picture that each step foresees


@torch.inference_mode()
def attention_film(
    pipeline,
    prompt: str = PROMPT,
    *,
    guidance_scale: float = 4.0,
    num_inference_steps: int = 12,
    seed: int = 0,
) -> AttentionFilm:
    r"""Draw one picture, and record the attention of the half that reads the words.

    Args:
        pipeline: a `StableDiffusionPipeline`.
        prompt: what to draw.
        guidance_scale: see `cfg`.
        num_inference_steps: S, DDIM steps.
        seed: of the noise.

    Raises:
        InputError: on a prompt without words.
    """
    # Here, not above: diffusers takes seconds to import.
    from tlab_diffusion.pipelines.attention import record_attention, word_maps, word_tokens

    words = word_tokens(pipeline.tokenizer, prompt)
    if not words:
        raise InputError("prompt", got=repr(prompt), expected="at least one word")
    unet, device = pipeline.unet, pipeline.unet.device
    condition, no_words = embed(pipeline, [prompt, ""]).split(1)

    def model(x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return unet(x_t, t, condition).sample

    denoiser = guided(model, condition, no_words, guidance_scale)
    side = unet.config.sample_size
    x_T = torch.randn(
        1, unet.config.in_channels, side, side, generator=torch.Generator().manual_seed(seed)
    )
    alpha_bar = pipeline.scheduler.alphas_cumprod.to(device)
    timesteps = samplers.spaced_timesteps(len(alpha_bar), num_inference_steps)
    with record_attention(unet) as attention:
        steps = list(samplers.ddim(denoiser, x_T.to(device), alpha_bar, timesteps))
    maps = attention.maps()[:, 1].cpu()  # of each step the half with words
    last = words[-1][1][-1]
    marks = torch.stack([maps[:, 0], maps[:, last + 1 :].sum(dim=1)], dim=1).mean(dim=(2, 3))
    pictures = decode(pipeline.vae, torch.cat([step.x0_pred for step in steps]))
    return AttentionFilm([word for word, _ in words], word_maps(maps, words), marks, pictures)


class AttentionExplorer(LivePicture):
    """The attention to a word at each step; see `attention_explorer`."""

    wide = ("word", "step")
    timed = ("step",)

    def __init__(self, film: AttentionFilm):
        _check_film(film)
        self._film = film
        self._shares = np.concatenate([film.maps.mean(dim=(2, 3)), film.marks], axis=1)
        title = "Which places of a picture look at a word"
        super().__init__("attention-explorer", title, _controls(film.words, len(film.maps)))

    def new_figure(self) -> AttentionPanels:
        labels = [*self._film.words, START, END]
        return AttentionPanels(labels, self._film.pictures[0], float(self._shares.max()))

    def draw(self, figure: AttentionPanels, settings: dict, changed: set[str]) -> str:
        number, step, steps = settings["word"], settings["step"], len(self._film.maps)
        if not 1 <= step <= steps:
            raise InputError("step", got=str(step), expected=f"1 to {steps}")
        if not 0 <= number < len(self._film.words):
            expected = f"0 to {len(self._film.words) - 1}"
            raise InputError("word", got=str(number), expected=expected)
        at = step - 1
        picture, places = self._film.pictures[at], self._film.maps[at, number]
        heat = heat_over(picture[None], places[None])[0]
        figure.show(picture, heat, self._shares[at], number, f"at step {step} of {steps}")
        return (
            f"Step {step} of {steps}. “{self._film.words[number]}” gets "
            f"{self._shares[at, number]:.1%} of all attention: {places.max():.1%} at the place "
            f"that looks at it most, {places.min():.1%} at the one that looks least."
        )


def attention_explorer(film: AttentionFilm | None = None) -> AttentionExplorer:
    r"""A widget: choose a word and a step, and see which places look at the word.

    Args:
        film: as from `attention_film`; drawn by the shipped model when left out.

    Raises:
        InputError: on a film whose parts do not fit together.
    """
    if film is None:
        film = attention_film(load("picturebook"))
    return AttentionExplorer(film)


def _check_film(film: AttentionFilm) -> None:
    steps, words = len(film.pictures), len(film.words)
    if film.maps.ndim != 4 or film.maps.shape[:2] != (steps, words):
        got = f"shape {tuple(film.maps.shape)}"
        raise InputError("film.maps", got=got, expected=f"({steps}, {words}, h, w)")


def _controls(words: Sequence[str], steps: int) -> dict[str, ipywidgets.ValueWidget]:
    options = [(word, number) for number, word in enumerate(words)]
    longest = max(range(len(words)), key=lambda number: len(words[number]))
    return {
        "word": ipywidgets.ToggleButtons(
            options=options,
            value=longest,
            description="word",
            style={"button_width": "auto"},
        ),
        "step": ipywidgets.IntSlider(steps, 1, steps, description="step"),
    }
