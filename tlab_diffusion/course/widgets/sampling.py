r"""The sampler explorer of lesson 04: ways from noise to a sample, with models that are exact."""

import functools
import math

import ipywidgets
import numpy as np
import torch
from torch import Tensor

from tlab_diffusion.course.widgets.base import LivePicture
from tlab_diffusion.diffusion import samplers, schedules
from tlab_diffusion.diffusion.isotropic import IsotropicMixture
from tlab_diffusion.diffusion.losses import Denoiser
from tlab_diffusion.diffusion.mixture import GaussianMixture
from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import random_scene, render
from tlab_diffusion.plots.sampler_panels import SamplerPanels, SamplerRun

SAMPLERS = ("ancestral, small sigma", "ancestral, large sigma", "DDIM", "DPM-Solver++ (2M)")
NUM_STEPS = (1, 2, 3, 4, 5, 8, 10, 15, 20, 30, 50, 100)
NUM_POINTS, NUM_PATHS, NUM_PICTURES = 300, 8, 4
BETAS = schedules.linear_betas(1000)
ALPHAS_CUMPROD = schedules.alphas_cumprod(BETAS)


def smile() -> GaussianMixture:
    """A face made of bumps: points in the plane that are easy to recognise, in float32."""
    round_face = [2 * math.pi * i / 22 for i in range(22)]
    mouth = [math.pi * (1.18 + 0.64 * i / 6) for i in range(7)]
    arcs = [(1.7, angle, (0.004, 0.06)) for angle in round_face]
    arcs += [(0.95, angle, (0.004, 0.02)) for angle in mouth]
    means = [(radius * math.cos(angle), radius * math.sin(angle)) for radius, angle, _ in arcs]
    means += [(-0.55, 0.5), (0.55, 0.5)]
    covariances = [_turned(angle, variances) for _, angle, variances in arcs]
    covariances += [_turned(0.0, (0.008, 0.025))] * 2
    weights = _tensor([1.0] * 22 + [1.1] * 7 + [2.2] * 2)
    return GaussianMixture(weights / weights.sum(), _tensor(means), torch.stack(covariances))


def some_pictures(number: int = 24, size: int = 64) -> Tensor:
    """Scenes of the picture-book world, (number, 3, size, size) float32 in [-1, 1]."""
    pixels = np.stack([render(random_scene(seed), size) for seed in range(number)])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def sampler_steps(
    sampler: str,
    model: Denoiser,
    x_T: Tensor,
    num_inference_steps: int,
    *,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> list[samplers.Step]:
    r"""All steps of a sampler by name, on the linear schedule of 1000 steps.

    Args:
        sampler: one of `SAMPLERS`.
        model: `model(x_t, t)`, predicting the noise.
        x_T: (B, ...), standard normal.
        num_inference_steps: evenly spaced, from the last timestep down.
        eta: for DDIM alone.
        generator: source of the noise.

    Raises:
        InputError: on an unknown sampler, or another number of steps.
    """
    if sampler not in SAMPLERS:
        expected = "one of " + ", ".join(map(repr, SAMPLERS))
        raise InputError("sampler", got=repr(sampler), expected=expected)
    path = samplers.spaced_timesteps(len(BETAS), num_inference_steps)
    if sampler == "DDIM":
        steps = samplers.ddim(model, x_T, ALPHAS_CUMPROD, path, eta=eta, generator=generator)
    elif sampler == "DPM-Solver++ (2M)":
        steps = samplers.dpm_solver_pp_2m(model, x_T, ALPHAS_CUMPROD, path)
    else:
        sigma = sampler.removeprefix("ancestral, ").removesuffix(" sigma")
        steps = samplers.ddpm(model, x_T, BETAS, timesteps=path, sigma=sigma, generator=generator)
    return list(steps)


def sampler_run(
    sampler: str,
    num_inference_steps: int,
    eta: float,
    seed: int,
    mixture: GaussianMixture,
    pictures: IsotropicMixture,
) -> SamplerRun:
    r"""A run on points and on pictures, each with its exact model.

    Args:
        sampler, num_inference_steps, eta: as `sampler_steps` has them.
        seed: of the noise to begin with and of all noise on the way.
        mixture: of points in the plane, float32.
        pictures: (K, 3, H, W) means.
    """
    generator = torch.Generator().manual_seed(seed)
    starts = [
        torch.randn(shape, generator=generator, dtype=torch.float32)
        for shape in ((NUM_POINTS, 2), (NUM_PICTURES, *pictures.means.shape[1:]))
    ]
    of_points, of_pictures = (
        sampler_steps(
            sampler,
            world.denoiser(ALPHAS_CUMPROD),
            start,
            num_inference_steps,
            eta=eta,
            generator=generator,
        )
        for world, start in zip((mixture, pictures), starts, strict=True)
    )
    end = of_pictures[-1].x
    nearest = torch.cdist(end.flatten(1), pictures.means.flatten(1)).argmin(dim=1)
    return SamplerRun(
        timesteps=[*(step.t + 1 for step in of_points), 0],
        points=torch.stack([starts[0], *(step.x for step in of_points)]).numpy(),
        pictures=np.stack([_pixels(x) for x in (starts[1], *(s.x for s in of_pictures))]),
        guesses=np.stack([_pixels(x) for x in (*(s.x0_pred for s in of_pictures), end)]),
        nearest=_pixels(pictures.means[nearest]),
    )


class SamplerExplorer(LivePicture):
    """Samplers on points and pictures with exact models; see `sampler_explorer`."""

    wide = ("step",)
    timed = ("step",)

    def __init__(self, mixture: GaussianMixture, pictures: IsotropicMixture):
        _check_worlds(mixture, pictures)
        self._mixture = mixture
        truth = mixture.sample(3000, torch.Generator().manual_seed(0))
        self._truth, self._true_surprise = truth.numpy(), -mixture.log_prob(truth).mean().item()
        self._run = functools.lru_cache(maxsize=4)(
            functools.partial(sampler_run, mixture=mixture, pictures=pictures)
        )
        super().__init__("sampler-explorer", "Samplers with exact models", _controls())

    def new_figure(self) -> SamplerPanels:
        return SamplerPanels(self._truth, NUM_PATHS, len(BETAS))

    def settle(self, setting: str) -> None:
        controls = self.controls
        if setting == "num_inference_steps":
            controls["step"].max = controls[setting].value  # a step beyond it follows
        if setting == "sampler":
            controls["eta"].disabled = controls["sampler"].value != "DDIM"

    def draw(self, figure: SamplerPanels, settings: dict, changed: set[str]) -> str:
        step, num_steps = settings["step"], settings["num_inference_steps"]
        if not 0 <= step <= num_steps:
            raise InputError("step", got=str(step), expected=f"0 to {num_steps}")
        eta = settings["eta"] if settings["sampler"] == "DDIM" else 0.0
        run = self._run(settings["sampler"], num_steps, eta, settings["seed"])
        if changed - {"step"}:
            figure.set_run(run)
        figure.set_step(step)
        name = settings["sampler"] + (f", eta = {eta:.1f}" if settings["sampler"] == "DDIM" else "")
        surprise = -self._mixture.log_prob(torch.from_numpy(run.points[-1])).mean().item()
        return (
            f"{name}: step = {step} of {num_steps}, {_level(run.timesteps[step])}.\n"
            f"Surprise of the finished points, -log q(x0): {surprise:.3f} on average; true points "
            f"have {self._true_surprise:.3f}."
        )


def sampler_explorer(
    mixture: GaussianMixture | None = None, pictures: Tensor | None = None, std: float = 0.05
) -> SamplerExplorer:
    r"""A widget: choose a sampler and its steps, and follow points and pictures out of the noise.

    Args:
        mixture: points in the plane, float32; a face when left out.
        pictures: (K, 3, H, W) float32 in [-1, 1], all pictures that there are; scenes of the
            picture-book world when left out.
        std: how much samples may differ from these pictures.

    Raises:
        InputError: on a mixture that is not in the plane, or other pictures.
    """
    mixture = smile() if mixture is None else mixture
    pictures = some_pictures() if pictures is None else pictures
    return SamplerExplorer(mixture, IsotropicMixture(pictures, std))


def _check_worlds(mixture: GaussianMixture, pictures: IsotropicMixture) -> None:
    if mixture.means.shape[1] != 2:
        raise InputError("mixture", got=f"{mixture.means.shape[1]} dimensions", expected="2")
    if pictures.means.ndim != 4 or pictures.means.shape[1] != 3:
        shape = tuple(pictures.means.shape)
        raise InputError("pictures", got=f"shape {shape}", expected="(K, 3, H, W)")
    for name, means in (("mixture", mixture.means), ("pictures", pictures.means)):
        if means.dtype != torch.float32:
            raise InputError(name, got=str(means.dtype), expected="torch.float32")


def _turned(angle: float, variances: tuple[float, float]) -> Tensor:
    """A covariance with these variances along the direction of the angle and across it."""
    cos, sin = math.cos(angle), math.sin(angle)
    axes = _tensor([[cos, -sin], [sin, cos]])
    return axes @ torch.diag(_tensor(variances)) @ axes.T


def _tensor(numbers) -> Tensor:
    """float32, also where a lesson has changed torch's default."""
    return torch.tensor(numbers, dtype=torch.float32)


def _pixels(x: Tensor) -> np.ndarray:
    """(B, 3, H, W) in about [-1, 1] as (B, H, W, 3) uint8; what leaves the range is clipped."""
    scaled = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).numpy()


def _level(t: int) -> str:
    if t == 0:
        return "the clean end"
    return f"at t = {t}, where alpha_bar is {ALPHAS_CUMPROD[t - 1]:.3g}"


def _controls() -> dict[str, ipywidgets.ValueWidget]:
    return {
        "sampler": ipywidgets.Dropdown(options=SAMPLERS, value="DDIM", description="sampler"),
        "num_inference_steps": ipywidgets.SelectionSlider(
            options=NUM_STEPS, value=50, description="steps"
        ),
        "eta": ipywidgets.FloatSlider(0.0, min=0, max=1, step=0.1, description="eta (DDIM)"),
        "seed": ipywidgets.IntSlider(0, 0, 20, description="seed"),
        "step": ipywidgets.IntSlider(20, 0, 50, description="step"),
    }
