"""A run in the terminal: a progress bar with rate and remaining time, and the result at its end."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from accelerate import PartialState
from tqdm.auto import tqdm

from tlab_diffusion.dreambooth.checkpoint.resume import steps_done
from tlab_diffusion.dreambooth.preflight.checks import Preflight
from tlab_diffusion.dreambooth.preflight.resources import duration
from tlab_diffusion.dreambooth.report.html import step_name
from tlab_diffusion.dreambooth.report.log import RunLog
from tlab_diffusion.dreambooth.run import Evaluated
from tlab_diffusion.dreambooth.training.trainer import (
    Event,
    Finished,
    Loaded,
    PriorImages,
    TrainStep,
)
from tlab_diffusion.evaluation.result import LABELS, Metrics

# The metrics that fit into a line.
SHOWN = ("identity", "dino", "prompt_accuracy", "clip_t", "pres", "class_div")
LOADING, CLASS_IMAGES, TRAINING, MEASURING = "loading", "class pictures", "training", "measuring"
INTERRUPTED = 130  # exit status of a command that Ctrl-C ended


def show(found: Preflight, start: Callable[..., Iterator[Event | Evaluated]], command: str) -> int:
    r"""Run to the end and show the progress. Ctrl-C saves a checkpoint at the end of a step.

    Args:
        found: the preflight report.
        start: `start(progress=..., stop=...)` begins the run, see `run`.
        command: continues this run; shown to the user.

    Returns:
        The exit status: 0, or 130 after Ctrl-C.
    """
    state = PartialState()
    if not state.is_main_process:
        for _ in start():
            pass
        return 0
    config, done = found.config, steps_done(found.config.output)
    left = config.max_steps - done
    print(found, flush=True)
    if not left:
        print(f"all {done} steps are done: nothing is left to train", flush=True)
    stop = threading.Event()
    bar = ProgressBar(found, done)
    try:
        with bar, _interrupts(bar, stop, alone=state.num_processes == 1):
            for event in start(progress=bar.move, stop=stop):
                _show_event(event, bar)
                if stop.is_set() and isinstance(event, TrainStep):
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        saved = steps_done(config.output)
        where = f"step {saved} is saved" if saved else "no step is saved yet"
        print(f"interrupted: {where} in {config.output}; continue with: {command}", flush=True)
        return INTERRUPTED
    _show_result(event)
    return 0


def _show_event(event: Event | Evaluated, bar: "ProgressBar") -> None:
    if isinstance(event, Loaded):
        bar.move(CLASS_IMAGES, 0)
    elif isinstance(event, PriorImages):
        bar.move(CLASS_IMAGES, event.done)
    elif isinstance(event, TrainStep):
        bar.move(TRAINING, event.step)
        bar.words = f", loss {event.subject_loss:.3f} + {event.prior_loss:.3f}"
    elif isinstance(event, Evaluated):
        bar.write(line_of(event.step, event.metrics))


def _show_result(finished: Finished) -> None:
    """Which step the folder holds, why, and its metrics."""
    log = RunLog(finished.folder)
    trade_off = log.trade_off()
    if trade_off is None:
        print(f"{finished.folder} holds step {finished.step}, the last one")
    else:
        (metrics,) = [point.metrics for point in log.points() if point.step == trade_off.best]
        print(f"{finished.folder} holds step {trade_off.best}. {trade_off.why}")
        print(line_of(trade_off.best, metrics))
    print(finished.folder)


@contextmanager
def _interrupts(bar: "ProgressBar", stop: threading.Event, *, alone: bool) -> Iterator[None]:
    """Let the first Ctrl-C during training end the run after the step; a second one at once."""

    def handle(*_) -> None:
        if bar.current != TRAINING or stop.is_set():
            raise KeyboardInterrupt
        bar.write("stopping after this step (Ctrl-C again: at once)")
        stop.set()

    # Other processes would wait without end for one that stops alone.
    if not alone or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def line_of(step: int, metrics: Metrics) -> str:
    """The metrics of a step as one line."""
    numbers = metrics.numbers()
    values = [f"{LABELS[name].title} {numbers[name]:.2f}" for name in SHOWN if name in numbers]
    return f"{step_name(step)}: {', '.join(values)}"


@dataclass
class Phase:
    """A part of a run: how much is done, and how long one unit takes."""

    unit: str
    total: int
    done: int
    guess: float  # seconds for one unit, until some are timed
    timed: int = 0
    seconds: float = 0.0

    @property
    def each(self) -> float:
        """Seconds for one unit."""
        return self.seconds / self.timed if self.timed else self.guess

    @property
    def left(self) -> float:
        """Seconds for what is left."""
        return max(0, self.total - self.done) * self.each


class ProgressBar:
    r"""One bar for all phases of a run. It moves every second, and its estimate covers them all.

    Args:
        found: the preflight report, whose estimates count until something is timed.
        done: steps of an earlier run.
    """

    def __init__(self, found: Preflight, done: int):
        config, guess = found.config, found.estimate
        num = config.num_class_images if config.with_prior else 0
        image = guess.class_images / num if guess and num else 0.0
        step = guess.training / max(1, config.max_steps - done) if guess else 0.0
        pictures = guess.pictures if guess else 0
        self.phases = {
            CLASS_IMAGES: Phase("picture", 0 if done else num, 0, image),
            TRAINING: Phase("step", config.max_steps, done, step),
            MEASURING: Phase(
                "picture", pictures, 0, guess.measuring / pictures if pictures else 0.0
            ),
        }
        self.current, self.words = LOADING, ""
        self.start = self.last = time.monotonic()
        self.bar = tqdm(
            total=1, desc=LOADING, bar_format="{desc}: {percentage:3.0f}%|{bar:20}|{postfix}"
        )
        self.closed = threading.Event()
        self.ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> "ProgressBar":
        self.ticker.start()
        return self

    def __exit__(self, *_) -> None:
        self.closed.set()
        self.ticker.join()
        self._draw()
        self.bar.close()

    def move(self, name: str, done: int, total: int | None = None) -> None:
        """Move to a phase, or further in it; the time since the last move counts for the phase."""
        now, phase = time.monotonic(), self.phases[name]
        if total is not None:
            phase.total = total
        if self.current == name and done > phase.done:
            phase.seconds += now - self.last
            phase.timed += done - phase.done
        if name == TRAINING:
            self.phases[CLASS_IMAGES].done = self.phases[CLASS_IMAGES].total
        if name != self.current:
            self.words = ""
        self.current, self.last, phase.done = name, now, done
        self._draw()

    def write(self, line: str) -> None:
        """Print a line above the bar."""
        self.bar.write(line)

    def _tick(self) -> None:
        while not self.closed.wait(1.0):
            self._draw()

    def _draw(self) -> None:
        elapsed = time.monotonic() - self.start
        left = sum(phase.left for phase in self.phases.values())
        phase = self.phases.get(self.current)
        words = ""
        if phase is not None:
            rate = f" at {1 / phase.each:.3g}/s" if phase.timed and phase.each else ""
            words = f"{phase.done}/{phase.total} {phase.unit}s{rate}{self.words}, "
        words += f"{duration(elapsed)} so far, about {duration(left)} left"
        with self.bar.get_lock():
            self.bar.desc = self.current
            self.bar.total, self.bar.n = elapsed + left or 1, elapsed
            self.bar.postfix = f" {words}"
            self.bar.refresh()


class Bar:
    """A bar that starts with the first news: what was done before is not in the rate."""

    def __init__(self, name: str, unit: str, total: int):
        self.name, self.unit, self.total, self.bar = name, unit, total, None

    def move(self, done: int, words: str = "") -> None:
        if self.bar is None:
            # The mean rate: metrics and checkpoints come in between.
            options = {"unit": self.unit, "total": self.total, "smoothing": 0}
            self.bar = tqdm(desc=self.name, initial=done, **options)
        self.bar.set_postfix_str(words, refresh=False)
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
