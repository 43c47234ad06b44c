r"""The training view of lesson 03: a network trains while you watch its loss and its samples."""

import asyncio
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import ipywidgets
import numpy as np
import torch
from torch import Tensor, nn

from tlab_diffusion.course.live_view import running_mean
from tlab_diffusion.course.toy_data import pixel_cats, smile
from tlab_diffusion.course.widgets.base import LivePicture
from tlab_diffusion.diffusion import losses, samplers, schedules
from tlab_diffusion.diffusion.points import PointNet
from tlab_diffusion.diffusion.unet import UNet
from tlab_diffusion.errors import InputError
from tlab_diffusion.plots.training_panels import TrainingPanels, TrainingView
from tlab_diffusion.training.loop import train

LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1)
EMA_DECAYS = (0.0, 0.9, 0.99, 0.999)
SAMPLING_STEPS = 20
PAUSE = 0.01  # seconds between two slices of training, for clicks to be heard
_shown: list["TrainingWidget"] = []  # the last one, at most
TRAIN, STOP = "▶ train", "■ stop"


class Task(NamedTuple):
    """Something to learn, and what learns it."""

    what: str  # a short description
    data: Tensor  # (N, ...), clean samples
    network: Callable[[], nn.Module]
    alphas_cumprod: Tensor  # (T,)
    prediction_type: str
    batch_size: int
    every: int  # steps from one drawing to the next
    shown: int  # samples drawn
    least: float | None  # the loss of the exact denoiser, where it is known


class Frame(NamedTuple):
    """One moment of a training."""

    losses: np.ndarray  # (S,), of all steps so far
    samples: Tensor  # (shown, ...), of the averaged model, always from the same noise


@lru_cache
def smile_task() -> Task:
    """A smile of points: a small network predicts the noise."""
    mixture, generator = smile(), torch.Generator().manual_seed(0)
    alpha_bar = schedules.alphas_cumprod(schedules.linear_betas(100, 1e-3, 0.15))
    data = mixture.sample(20_000, generator)
    t = torch.randint(100, (len(data),), generator=generator)
    noise = torch.randn(data.shape, generator=generator)
    least = losses.noise_loss(mixture.denoiser(alpha_bar), data, t, noise, alpha_bar).item()
    what = "points of a smile"
    return Task(what, data, PointNet, alpha_bar, "epsilon", 256, 20, 600, least)


@lru_cache
def cats_task() -> Task:
    """Cats of 16 x 16 pixels: a U-Net predicts the clean picture."""
    alpha_bar = schedules.alphas_cumprod(schedules.cosine_betas(1000))
    what = "pictures of cats"
    return Task(what, pixel_cats(512), small_unet, alpha_bar, "sample", 16, 10, 16, None)


def small_unet() -> UNet:
    """The U-Net of lesson 03: two rungs, 300 thousand weights."""
    return UNet(3, channels=(32, 64))


TASKS = {"smile": smile_task, "cats": cats_task}


def frames(
    task: Task, steps: int, learning_rate: float, ema_decay: float, seed: int = 0
) -> Iterator[Frame]:
    r"""Train a new network and yield a frame at intervals.

    Args:
        task: what to learn.
        steps: of training.
        learning_rate: of AdamW.
        ema_decay: of the averaged model.
        seed: of the network, the batches, the timesteps and the noise.

    Yields:
        A `Frame` every `task.every` steps, and one after the last.

    Raises:
        InputError: if the loss is no longer a finite number.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = task.network()
    generator = torch.Generator().manual_seed(seed)
    training = train(
        network,
        (_batch(task, generator) for _ in range(steps)),
        task.alphas_cumprod,
        learning_rate=learning_rate,
        ema_decay=ema_decay,
        prediction_type=task.prediction_type,
        generator=generator,
    )
    so_far = []
    for step in training:
        so_far.append(step.loss)
        if step.step % task.every == 0 or step.step == steps:
            yield Frame(np.array(so_far), sample(task, step.ema_model))


def _batch(task: Task, generator: torch.Generator) -> Tensor:
    return task.data[torch.randint(len(task.data), (task.batch_size,), generator=generator)]


@torch.no_grad()
def sample(task: Task, model: nn.Module) -> Tensor:
    """Draw `task.shown` samples with a model, from the same noise every time."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(task.shown, *task.data.shape[1:], generator=generator)
    timesteps = samplers.spaced_timesteps(len(task.alphas_cumprod), SAMPLING_STEPS)
    *_, last = samplers.ddim(
        model, noise, task.alphas_cumprod, timesteps, prediction_type=task.prediction_type
    )
    return last.x


def as_shown(samples: Tensor) -> np.ndarray:
    """Samples for the figure: points unchanged, pictures as (N, H, W, 3) uint8."""
    if samples.ndim == 2:
        return samples.numpy()
    pixels = (samples.nan_to_num().clamp(-1, 1) + 1) * 127.5
    return pixels.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


class TrainingWidget(LivePicture):
    """A network in training, with a button to start and stop it; see `training_view`."""

    wide = ("steps",)

    def __init__(self):
        self._frame: Frame | None = None
        self._trouble = ""
        self._run = 0  # the number of the training that may draw; a click begins another one
        self._job: asyncio.Task | None = None  # held, or it could be collected while it runs
        self.button = ipywidgets.ToggleButton(description=TRAIN)
        self.button.add_class("training-view-run")
        self.button.observe(self._on_button, names="value")
        super().__init__("training-view", "A network in training", _controls())

    def arrange(self) -> ipywidgets.Widget:
        return ipywidgets.VBox([super().arrange(), self.button])

    def new_figure(self) -> TrainingPanels:
        return TrainingPanels(["the data", "samples of the averaged model"])

    def settle(self, setting: str) -> None:
        """A changed setting starts another training."""
        self.button.value = False
        self._frame, self._trouble = None, ""

    def draw(self, figure: TrainingPanels, settings: dict, changed: set[str]) -> str:
        return self._draw_frame(figure, settings, changed, self._frame)

    def draw_still(self, figure: TrainingPanels, settings: dict) -> str:
        """Train from start to end; the picture does not depend on the live training."""
        _check(settings)
        *_, last = frames(TASKS[settings["data"]](), *_options(settings))
        return self._draw_frame(figure, settings, set(settings), last)

    def _draw_frame(
        self, figure: TrainingPanels, settings: dict, changed: set[str], frame: Frame | None
    ) -> str:
        task = TASKS[settings["data"]]()
        if changed & {"data", "steps"}:
            figure.set_task(settings["steps"], task.least)
        losses = np.zeros(0) if frame is None else frame.losses
        samples = None if frame is None else as_shown(frame.samples)
        panels = as_shown(task.data[: task.shown]), samples
        figure.show(TrainingView(losses, running_mean(losses), panels))
        return f"{_standing(task, settings, frame)}{self._trouble}\n{_in_words(task, settings)}"

    def _on_button(self, change) -> None:
        self._run += 1
        self.button.description = STOP if change["new"] else TRAIN
        if not change["new"]:
            return
        self._trouble = ""
        training = self._train(self._run)
        try:
            # In a notebook: little by little, so that the page answers meanwhile.
            self._job = asyncio.get_running_loop().create_task(training)
        except RuntimeError:  # in a script there is no loop to share: straight to the end
            asyncio.run(training)

    async def _train(self, run: int) -> None:
        settings = self.settings
        try:
            for frame in frames(TASKS[settings["data"]](), *_options(settings)):
                self._frame = frame
                self._redraw()
                await asyncio.sleep(PAUSE)
                if run != self._run:
                    return
        except InputError as error:
            self._trouble = f" It stopped. {error}"
            self._redraw()
        finally:
            if run == self._run:
                self.button.value = False


def training_view() -> TrainingWidget:
    r"""A widget: train a small network, and watch its loss and its samples while it learns.

    The button starts and stops; another setting starts afresh. The same settings train the same
    network, to the last digit. Where the cell is run again, the training of the widget before it
    stops, because its button is no longer on the page.
    """
    while _shown:
        _shown.pop().button.value = False
    _shown.append(TrainingWidget())
    return _shown[-1]


def _options(settings: dict) -> tuple[int, float, float]:
    return settings["steps"], settings["learning_rate"], settings["ema_decay"]


def _check(settings: dict) -> None:
    if settings["data"] not in TASKS:
        expected = "one of " + ", ".join(map(repr, TASKS))
        raise InputError("data", got=repr(settings["data"]), expected=expected)
    if not isinstance(settings["steps"], int) or settings["steps"] < 1:
        raise InputError("steps", got=repr(settings["steps"]), expected="a whole number from 1 up")
    if not settings["learning_rate"] > 0:
        got = repr(settings["learning_rate"])
        raise InputError("learning_rate", got=got, expected="a number above 0")


def _standing(task: Task, settings: dict, frame: Frame | None) -> str:
    """The current step as text."""
    if frame is None:
        return "Nothing is trained yet: press the button."
    known = f" (the exact denoiser's: {task.least:.3f})" if task.least else ""
    loss = running_mean(frame.losses)[-1]
    return f"Step {len(frame.losses)} of {settings['steps']}. Loss {loss:.3f}{known}."


def _in_words(task: Task, settings: dict) -> str:
    return (
        f"{settings['steps']} steps of {task.batch_size} {task.what}, learning rate "
        f"{settings['learning_rate']:g}, weights averaged with decay {settings['ema_decay']:g}."
    )


def _controls() -> dict[str, ipywidgets.ValueWidget]:
    rates = [(f"{rate:g}", rate) for rate in LEARNING_RATES]
    decays = [(f"{decay:g}", decay) for decay in EMA_DECAYS]
    return {
        "data": ipywidgets.Dropdown(options=list(TASKS), description="data"),
        "learning_rate": ipywidgets.SelectionSlider(options=rates, value=3e-3, description="rate"),
        "ema_decay": ipywidgets.SelectionSlider(
            options=decays, value=0.99, description="EMA decay"
        ),
        "steps": ipywidgets.IntSlider(500, 100, 3000, 100, description="steps"),
    }
