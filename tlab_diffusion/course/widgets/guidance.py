r"""The guidance explorer of lesson 05: pictures and a known mixture at one scale or another."""

from collections.abc import Mapping, Sequence

import ipywidgets
import numpy as np
import torch
from torch import Tensor

from tlab_diffusion.course.widgets.base import LivePicture
from tlab_diffusion.diffusion import samplers, schedules
from tlab_diffusion.diffusion.guidance import cfg, guided
from tlab_diffusion.diffusion.isotropic import IsotropicMixture
from tlab_diffusion.diffusion.schedules import cast_like
from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines import decode, embed, load
from tlab_diffusion.plots.guidance_panels import GuidancePanels, GuidedPoints

SCALES = (0, 1, 2, 4, 8, 15)
PROMPT = "a striped red cat wearing a crown in the snow"
NUM_PICTURES = 4
NUM_POINTS = 300
BUMP_STD = 0.3
_MEANINGS = {0: ": words are ignored", 1: ": guidance is off"}


def two_classes() -> tuple[IsotropicMixture, IsotropicMixture]:
    """The class told and the other one, as likely: three bumps each, intertwined."""
    told = [[-0.9, 0.7], [-0.7, -0.6], [0.3, 0.1]]
    rest = [[0.75, 0.8], [1.0, -0.3], [0.2, -0.9]]
    bumps = (torch.tensor(means, dtype=torch.float64) for means in (told, rest))
    return tuple(IsotropicMixture(means, BUMP_STD) for means in bumps)


def guided_points(scales: Sequence[float], num_points: int = NUM_POINTS) -> GuidedPoints:
    r"""Points guided towards the first of `two_classes`, by exact denoisers and 40 DDIM steps.

    Args:
        scales: S guidance scales; each starts from the same noise.
        num_points: N at each scale.
    """
    told, rest = two_classes()
    everything = IsotropicMixture(torch.cat([told.means, rest.means]), BUMP_STD)
    alpha_bar = schedules.alphas_cumprod(schedules.cosine_betas(1000).double())
    exact, exact_told = everything.denoiser(alpha_bar), told.denoiser(alpha_bar)
    each = _each_scale(scales, num_points)[:, None]

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        return cfg(exact(x_t, t), exact_told(x_t, t), each)

    generator = torch.Generator().manual_seed(0)
    x_T = torch.randn(num_points, 2, generator=generator, dtype=torch.float64)
    timesteps = samplers.spaced_timesteps(1000, 40)
    *_, last = samplers.ddim(denoiser, x_T.repeat(len(scales), 1), alpha_bar, timesteps)
    points, obeys = last.x.unflatten(0, (len(scales), num_points)), class_probability(last.x) > 0.5
    return GuidedPoints(
        points=points.numpy(),
        obeyed=obeys.double().view(len(scales), num_points).mean(dim=1).numpy(),
        spread=points.var(dim=1).mean(dim=1).sqrt().numpy(),
    )


def class_probability(x: Tensor) -> Tensor:
    r"""`p(class told | x)` of clean points x (B, 2), by Bayes' rule."""
    told, rest = (mixture.means for mixture in two_classes())
    distances = torch.cdist(x, torch.cat([told, rest])).square()
    return (-distances / (2 * BUMP_STD**2)).softmax(dim=1)[:, : len(told)].sum(dim=1)


@torch.inference_mode()
def guided_pictures(
    pipeline,
    prompt: str,
    scales: Sequence[float] = SCALES,
    *,
    num_inference_steps: int = 12,
    seed: int = 0,
) -> dict[float, np.ndarray]:
    r"""Four pictures at each scale, all from the same noise, all scales in one batch.

    Args:
        pipeline: a `StableDiffusionPipeline`.
        prompt: what to draw.
        scales: guidance scales.
        num_inference_steps: DDIM steps.
        seed: of the noise.

    Returns:
        {scale: (4, H, W, 3) uint8}.
    """
    many = NUM_PICTURES * len(scales)
    unet, device = pipeline.unet, pipeline.unet.device
    words, no_words = embed(pipeline, [prompt, ""])

    def model(x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return unet(x_t, t, condition).sample

    each = cast_like(_each_scale(scales, NUM_PICTURES), words)
    denoiser = guided(
        model,
        words.expand(many, -1, -1),
        no_words.expand(many, -1, -1),
        each.reshape(-1, 1, 1, 1),
    )
    side = unet.config.sample_size
    shape = NUM_PICTURES, unet.config.in_channels, side, side
    x_T = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
    alpha_bar = pipeline.scheduler.alphas_cumprod.to(device)
    timesteps = samplers.spaced_timesteps(len(alpha_bar), num_inference_steps)
    *_, last = samplers.ddim(denoiser, x_T.repeat(len(scales), 1, 1, 1), alpha_bar, timesteps)
    pictures = decode(pipeline.vae, last.x)
    pictures = pictures.reshape(len(scales), NUM_PICTURES, *pictures.shape[1:])
    return dict(zip(scales, pictures, strict=True))


class GuidanceExplorer(LivePicture):
    """Pictures and a mixture at one guidance scale or another; see `guidance_explorer`."""

    wide = ("guidance_scale",)

    def __init__(self, pictures: Mapping[float, np.ndarray], prompt: str):
        self._scales, self._prompt = sorted(pictures), prompt
        self._pictures = _check_pictures([pictures[scale] for scale in self._scales])
        self._guided = guided_points(self._scales)
        title = "Guidance at several scales, from the same noise"
        super().__init__("guidance-explorer", title, _controls(self._scales))

    def new_figure(self) -> GuidancePanels:
        data = [
            mixture.sample(NUM_POINTS, torch.Generator().manual_seed(seed)).numpy()
            for seed, mixture in enumerate(two_classes())
        ]
        return GuidancePanels(self._scales, self._pictures, self._guided, *data)

    def draw(self, figure: GuidancePanels, settings: dict, changed: set[str]) -> str:
        scale = settings["guidance_scale"]
        if scale not in self._scales:
            expected = "one of " + ", ".join(f"{each:g}" for each in self._scales)
            raise InputError("guidance_scale", got=f"{scale:g}", expected=expected)
        index = self._scales.index(scale)
        figure.show(index)
        obeyed, spread = (values[index] for values in self._guided[1:])
        return (
            f"Guidance scale {scale:g}{_MEANINGS.get(scale, '')}. The model was told: "
            f"“{self._prompt}”.\nIn the mixture {obeyed:.0%} of the points obey the class "
            f"they were told, and their spread is {spread:.2f}."
        )


def guidance_explorer(
    pictures: Mapping[float, np.ndarray] | None = None, prompt: str = PROMPT
) -> GuidanceExplorer:
    r"""A widget: slide the guidance scale, and see what pictures and a known mixture do.

    Args:
        pictures: {scale: (4, H, W, 3) uint8}, as from `guided_pictures`; drawn by the shipped
            model when left out, which takes a few seconds.
        prompt: what the pictures were told.

    Raises:
        InputError: on fewer than two scales, or pictures of another shape or type.
    """
    if pictures is None:
        pictures = guided_pictures(load("picturebook"), prompt)
    return GuidanceExplorer(pictures, prompt)


def _check_pictures(pictures: list[np.ndarray]) -> np.ndarray:
    if len(pictures) < 2:
        raise InputError("pictures", got=f"{len(pictures)} scales", expected="two or more")
    for batch in pictures:
        array = np.asarray(batch)
        fits = array.ndim == 4 and len(array) == NUM_PICTURES and array.shape[3] == 3
        if not fits or array.dtype != np.uint8 or array.shape != np.shape(pictures[0]):
            got = f"shape {array.shape}, {array.dtype}"
            raise InputError("pictures", got=got, expected="(4, H, W, 3) uint8 at each scale")
    return np.stack(pictures)


def _each_scale(scales: Sequence[float], times: int) -> Tensor:
    """Every scale for so many samples in a row."""
    return torch.tensor(scales, dtype=torch.float64).repeat_interleave(times)


def _controls(scales: list[float]) -> dict[str, ipywidgets.ValueWidget]:
    options = [(f"{scale:g}", scale) for scale in scales]
    start = min(scales, key=lambda scale: abs(scale - 4))
    slider = ipywidgets.SelectionSlider(
        options=options,
        value=start,
        description="guidance scale",
        style={"description_width": "initial"},
    )
    return {"guidance_scale": slider}
