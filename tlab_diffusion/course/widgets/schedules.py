r"""The schedule explorer of lesson 01: what a noise schedule does to a picture."""

import ipywidgets
import numpy as np
import torch
from torch import Tensor

from tlab_diffusion.course.widgets.base import LivePicture
from tlab_diffusion.diffusion.process import q_sample
from tlab_diffusion.diffusion.schedules import (
    alphas_cumprod,
    cosine_betas,
    linear_betas,
    rescale_zero_terminal_snr,
    scaled_linear_betas,
    sigmoid_betas,
    snr,
)
from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import render, subject_scenes
from tlab_diffusion.plots.schedule_panels import STRIP_LENGTH, SchedulePanels

# Name: (the function, its customary first and last beta). A cosine has no ends to choose.
SCHEDULES = {
    "linear": (linear_betas, (1e-4, 0.02)),
    "scaled linear": (scaled_linear_betas, (0.00085, 0.012)),
    "cosine": (cosine_betas, None),
    "sigmoid": (sigmoid_betas, (1e-4, 0.02)),
}
BETA_STARTS = (1e-5, 3e-5, 1e-4, 3e-4, 8.5e-4, 0.002, 0.005)
BETA_ENDS = (0.005, 0.008, 0.012, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5)
ZERO_SNR = ", zero terminal SNR"
KEY_PRESSES = 100  # from one end of the slider of t to the other


def schedule_betas(
    schedule: str,
    num_train_timesteps: int = 1000,
    ends: tuple[float, float] | None = None,
    zero_terminal_snr: bool = False,
) -> Tensor:
    r"""The betas of a schedule by name.

    Args:
        schedule: one of `SCHEDULES`.
        num_train_timesteps: T.
        ends: first and last beta; the customary ones when left out. A cosine takes no notice.
        zero_terminal_snr: rescale, so that the last step leaves nothing but noise.

    Returns:
        (T,) float32.

    Raises:
        InputError: on an unknown schedule, or numbers that make none.
    """
    if schedule not in SCHEDULES:
        expected = "one of " + ", ".join(map(repr, SCHEDULES))
        raise InputError("schedule", got=repr(schedule), expected=expected)
    make, customary = SCHEDULES[schedule]
    betas = make(num_train_timesteps, *(ends or customary) if customary else ())
    return rescale_zero_terminal_snr(betas) if zero_terminal_snr else betas


def noised_pictures(picture: np.ndarray, noise: Tensor, t: list[int], betas: Tensor) -> np.ndarray:
    r"""One picture under the same noise after several steps.

    Args:
        picture: (H, W, 3) uint8.
        noise: (3, H, W).
        t: N timesteps from 0, the clean picture, to T.
        betas: (T,).

    Returns:
        (N, H, W, 3) uint8; what leaves [-1, 1] is clipped.
    """
    x0 = torch.from_numpy(picture).permute(2, 0, 1) / 127.5 - 1
    many = len(t), -1, -1, -1
    left = torch.cat([torch.ones(1), alphas_cumprod(betas)])  # at the steps 0 to T
    x_t = q_sample(x0.expand(*many), torch.tensor(t), noise.expand(*many), left)
    pixels = ((x_t.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).numpy()


class ScheduleExplorer(LivePicture):
    """Two schedules, their curves, and what they do to a picture; see `schedule_explorer`."""

    timed = ("t",)

    def __init__(self, picture: np.ndarray):
        _check_picture(picture)
        self._picture = picture
        generator = torch.Generator().manual_seed(0)
        self._noise = torch.randn(3, *picture.shape[:2], generator=generator)
        super().__init__("schedule-explorer", "Noise schedules compared", _controls())

    def new_figure(self) -> SchedulePanels:
        return SchedulePanels()

    def settle(self, setting: str) -> None:
        controls = self.controls
        if setting == "num_train_timesteps":
            steps = controls[setting].value
            controls["t"].max = steps  # a t beyond it follows
            controls["t"].step = max(1, steps // KEY_PRESSES)
        if setting == "schedule":
            ends = SCHEDULES[controls[setting].value][1]
            controls["beta_start"].disabled = controls["beta_end"].disabled = ends is None
            if ends:
                controls["beta_start"].value, controls["beta_end"].value = ends

    def draw(self, figure: SchedulePanels, settings: dict, changed: set[str]) -> str:
        t, steps = settings["t"], settings["num_train_timesteps"]
        names, schedules = zip(*_both(settings), strict=True)
        if not 0 <= t <= steps:
            raise InputError("t", got=str(t), expected=f"0 to {steps}")
        if changed - {"t"}:
            strip_t = np.linspace(0, steps, STRIP_LENGTH).round().astype(int).tolist()
            strips = [self._noised(strip_t, betas) for betas in schedules]
            figure.set_schedules(names, [betas.numpy() for betas in schedules])
            figure.set_strips(strip_t, strips)
        figure.set_timestep(t, [self._noised([t], betas)[0] for betas in schedules])
        lines = [_in_words(n, t, betas) for n, betas in zip(names, schedules, strict=True)]
        return "\n".join([f"t = {t} of {steps}.", *lines])

    def _noised(self, t: list[int], betas: Tensor) -> np.ndarray:
        return noised_pictures(self._picture, self._noise, t, betas)


def schedule_explorer(picture: np.ndarray | None = None) -> ScheduleExplorer:
    r"""A widget: choose a schedule, slide t, and see a picture dissolve.

    Args:
        picture: (H, W, 3) uint8; Pip when left out.

    Raises:
        InputError: on a picture of another shape or type.
    """
    if picture is None:
        picture = render(subject_scenes("pip")[0])
    return ScheduleExplorer(picture)


def _check_picture(picture: np.ndarray) -> None:
    array = np.asarray(picture)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        got = f"shape {array.shape}, {array.dtype}"
        raise InputError("picture", got=got, expected="(H, W, 3) uint8")


def _both(settings: dict) -> list[tuple[str, Tensor]]:
    """The chosen schedule and the one beside it, each with its name."""
    steps = settings["num_train_timesteps"]
    zero_snr = settings["zero_terminal_snr"]
    ends = settings["beta_start"], settings["beta_end"]
    chosen = schedule_betas(settings["schedule"], steps, ends, zero_snr)
    other = settings["compare_with"]
    other_betas = schedule_betas(
        other.removesuffix(ZERO_SNR), steps, None, other.endswith(ZERO_SNR)
    )
    return [(settings["schedule"] + ZERO_SNR * zero_snr, chosen), (other, other_betas)]


def _in_words(name: str, t: int, betas: Tensor) -> str:
    if t == 0:
        return f"{name}: x_0, the clean picture."
    alpha_bar = alphas_cumprod(betas)
    left = float(alpha_bar[t - 1])
    ratio = float(snr(alpha_bar)[t - 1])
    return (
        f"{name}: x_t = {left**0.5:.2f} x_0 + {(1 - left) ** 0.5:.2f} noise. alpha_bar {left:.3g}, "
        f"SNR {ratio:.3g}: {100 * left:.3g} % of the picture's variance is left."
    )


def _controls() -> dict[str, ipywidgets.ValueWidget]:
    compared = [name + suffix for suffix in ("", ZERO_SNR) for name in SCHEDULES]
    start, end = SCHEDULES["linear"][1]
    return {
        "schedule": ipywidgets.Dropdown(options=list(SCHEDULES), description="schedule"),
        "zero_terminal_snr": ipywidgets.Checkbox(description="zero terminal SNR"),
        "compare_with": ipywidgets.Dropdown(
            options=compared, value="cosine", description="against"
        ),
        "num_train_timesteps": ipywidgets.IntSlider(1000, 10, 1000, 10, description="steps T"),
        "beta_start": _choice("beta start", BETA_STARTS, start),
        "beta_end": _choice("beta end", BETA_ENDS, end),
        "t": ipywidgets.IntSlider(300, 0, 1000, 1000 // KEY_PRESSES, description="timestep t"),
    }


def _choice(description: str, values: tuple[float, ...], value: float):
    """A slider over these values alone: a logarithmic one would round the customary ends."""
    options = [(f"{each:.5f}".rstrip("0"), each) for each in values]
    return ipywidgets.SelectionSlider(options=options, value=value, description=description)
