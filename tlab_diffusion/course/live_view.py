r"""A training that is watched while it runs: a bar, the loss, and what the model draws.

    training = train(network, batches, alphas_cumprod)
    for step in watch(training, 400, draw=lambda step: sample(step.ema_model)):
        losses.append(step.loss)

In a notebook it is one output that is redrawn; elsewhere it is lines of text. It needs no widget,
so its last picture stays in the notebook. Redrawing takes a fixed small share of the time.
"""

import base64
import html
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import fill

import numpy as np

from tlab_diffusion.errors import check_integer
from tlab_diffusion.plots._arrays import as_pictures
from tlab_diffusion.plots.style import SCREEN_DPI, WIDTH
from tlab_diffusion.plots.training_panels import TrainingPanels, TrainingView

SHARE = 1 / 16  # of the time for redrawing, besides the first and the last picture
PICTURES_EVERY, BAR_EVERY, LINE_EVERY = 2.0, 0.4, 10.0  # seconds, at least
SMOOTH = 50  # steps of the running mean
TITLE_WIDTH = 24  # characters in a line above a panel
AGAIN = "Run the cell again to go on."


def watch(
    steps: Iterable,
    total: int,
    *,
    draw: Callable[[object], object] | None = None,
    titles: Sequence[str] = ("samples",),
    losses: Sequence[float] = (),
) -> Iterator:
    r"""Yield the steps of a training, and show how it goes.

    The stop button (or Ctrl-C) ends it after the step that is running; a second time at once. A
    generator that is kept in a variable then goes on where it stopped: run the cell again.

    Args:
        steps: a generator of steps; each has `step`, counted from 1, and `loss`.
        total: the number of the last step.
        draw: what the model draws after a step: points (N, 2), or pictures (N, H, W, 3) uint8 or
            (N, 3, H, W) floats in [-1, 1]. It is called every few seconds.
        titles: of the panels. One panel shows all samples; several show a picture each.
        losses: of the steps that were taken before.

    Yields:
        The steps.
    """
    view = LiveView(total, titles if draw else (), losses)
    last, interrupted = None, threading.Event()
    with gentle_interrupts(interrupted):
        try:
            for last in steps:
                view.step(last.step, last.loss)
                if draw and view.due():
                    view.draw(draw, last)
                yield last
                if interrupted.is_set():
                    break
            if draw and last is not None:
                view.draw(draw, last)
        except KeyboardInterrupt:
            pass
    view.close(*_ending(last, total))


def _ending(last, total: int) -> tuple[str, bool]:
    """The last line, and whether all steps are done."""
    if last is None:
        return "No step was left. To start anew, make the training again.", True
    if last.step < total:
        return f"Interrupted after step {last.step} of {total}. {AGAIN}", False
    return f"Done: {total} steps.", True


@contextmanager
def gentle_interrupts(
    seen: threading.Event, waits: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    r"""Note the first interrupt instead of raising it; the second one raises KeyboardInterrupt.

    Python delivers signals to the main thread alone: elsewhere every interrupt raises.

    Args:
        seen: set by the first interrupt.
        waits: says whether an interrupt now is only noted.
    """

    def handle(*_) -> None:
        if seen.is_set() or not waits():
            raise KeyboardInterrupt
        seen.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class LiveView:
    r"""What `watch` shows.

    Args:
        total: the number of the last step.
        titles: of the panels; none where nothing is drawn.
        losses: of the steps that were taken before.
    """

    def __init__(self, total: int, titles: Sequence[str] = (), losses: Sequence[float] = ()):
        check_integer("total", total)
        self.total, self.losses = total, list(losses)
        self._titles = [fill(title, TITLE_WIDTH) for title in titles]
        self._figure = TrainingPanels(self._titles)
        self._figure.set_task(total)
        self._samples: list[np.ndarray | None] = [None] * len(titles)
        self._page = _page()
        self._start = self._begun = time.monotonic()  # of all, and of the first step that is timed
        self._first = None  # the step that was taken before it
        self._spent = 0.0  # seconds for redrawing
        self._next_picture = self._next_bar = 0.0

    @property
    def share(self) -> float:
        """Share of the time so far that went into redrawing."""
        return self._spent / max(time.monotonic() - self._start, 1e-9)

    def step(self, number: int, loss: float) -> None:
        """Note a step that was taken."""
        self.losses.append(loss)
        now = time.monotonic()
        if self._first is None:
            self._first, self._begun = number, now
        if now >= self._next_bar:
            left = ""
            if number > self._first:
                each = (now - self._begun) / (number - self._first)
                left = f" About {duration((self.total - number) * each)} left."
            words = f"Step {number} of {self.total}. Loss {self._loss():.3f}.{left}"
            self._bar(words, number, self.total)

    def phase(self, what: str, done: int, number: int) -> None:
        """Show how far something is that comes before, between or after the steps."""
        if done == number or time.monotonic() >= self._next_bar:
            self._bar(f"{what}: {done} of {number}.", done, number)

    def due(self) -> bool:
        """Whether enough time has passed since the last picture."""
        return time.monotonic() >= self._next_picture

    def draw(self, draw: Callable[[object], object], step: object) -> None:
        """Draw what the model draws after a step, and the loss."""
        start = time.monotonic()
        self.show(draw(step))
        self._took(start)
        cost = time.monotonic() - start
        self._next_picture = time.monotonic() + max(PICTURES_EVERY, cost * (1 / SHARE - 1))

    def show(self, samples: object) -> None:
        """Draw the loss and some samples."""
        self._samples = self._split(samples)
        self._show_picture()

    def close(self, words: str, whole: bool) -> None:
        """Show the last line: the same at every run, so that outputs can be compared."""
        if self.losses:
            self._show_picture()  # the loss up to the last step
        if whole and self.losses:
            words = f"{words} Loss {self._loss():.3f} (mean of the last {SMOOTH} steps)."
        self._page.bar(words, len(self.losses), self.total)

    def _bar(self, words: str, done: int, number: int) -> None:
        start = time.monotonic()
        self._page.bar(words, done, number)
        self._next_bar = time.monotonic() + BAR_EVERY
        self._took(start)

    def _show_picture(self) -> None:
        losses = np.array(self.losses)
        self._figure.show(TrainingView(losses, running_mean(losses), self._samples))
        self._page.picture(self._figure.png, f"The loss of {len(losses)} steps, and samples")

    def _split(self, samples: object) -> list[np.ndarray]:
        """What each panel shows."""
        if hasattr(samples, "detach"):
            samples = samples.detach().cpu().numpy()
        if np.ndim(samples) == 2:
            return [np.asarray(samples, dtype=float)]
        pictures = as_pictures("samples", samples)
        return [pictures] if len(self._titles) == 1 else [picture[None] for picture in pictures]

    def _loss(self) -> float:
        recent = self.losses[-SMOOTH:]
        return math.fsum(recent) / len(recent)

    def _took(self, start: float) -> None:
        self._spent += time.monotonic() - start


class _Notebook:
    """Two outputs of a cell, each shown again in its place."""

    def __init__(self):
        self._handles = {}

    def bar(self, words: str, done: int, number: int) -> None:
        page = (
            f'<div style="width: {WIDTH * SCREEN_DPI:.0f}px; max-width: 100%">'
            f'<progress value="{done}" max="{number}" aria-label="training" '
            f'style="width: 100%"></progress><div>{html.escape(words)}</div></div>'
        )
        self._show("bar", {"text/plain": words, "text/html": page})

    def picture(self, png: Callable[[], bytes], title: str) -> None:
        data = {"text/plain": f"<Picture: {title}>", "image/png": _base64(png())}
        width = round(WIDTH * SCREEN_DPI)
        self._show("picture", data, {"image/png": {"width": width, "alt": title}})

    def _show(self, name: str, data: dict, metadata: dict | None = None) -> None:
        from IPython.display import display

        if name in self._handles:
            self._handles[name].update(data, metadata=metadata, raw=True)
        else:
            self._handles[name] = display(data, metadata=metadata, raw=True, display_id=True)


class _Lines:
    """Lines of text, where nothing can be shown twice in one place."""

    def __init__(self):
        self._next, self._said = 0.0, ""

    def bar(self, words: str, done: int, number: int) -> None:
        last = not words.startswith("Step ")
        if words != self._said and (last or time.monotonic() >= self._next):
            print(words, flush=True)
            self._next, self._said = time.monotonic() + LINE_EVERY, words

    def picture(self, png: Callable[[], bytes], title: str) -> None:
        """Pictures are left out."""


def _page() -> _Notebook | _Lines:
    if "IPython" in sys.modules:
        from IPython import get_ipython

        if hasattr(get_ipython(), "kernel"):
            return _Notebook()
    return _Lines()


def running_mean(values: np.ndarray, length: int = SMOOTH) -> np.ndarray:
    """The mean of each value and those before it, `length` at most."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - length, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def duration(seconds: float) -> str:
    """Seconds as text."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
