"""A run in the terminal: a progress bar with rate and remaining time, and the result at its end."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from accelerate import PartialState

from tlab_diffusion.dreambooth.checkpoint.resume import steps_done
from tlab_diffusion.dreambooth.preflight.checks import Preflight
from tlab_diffusion.dreambooth.report.html import step_name
from tlab_diffusion.dreambooth.report.log import RunLog
from tlab_diffusion.dreambooth.report.progress import (
    CLASS_IMAGES,
    TRAINING,
    ProgressBar,
    phases_of,
)
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
    print(found, flush=True)
    if found.finished:
        *_, event = start()
        print(f"all {done} steps are done: nothing is left to train or to measure")
        _show_result(event)
        return 0
    if done == config.max_steps:
        print(f"all {done} steps are done: nothing is left to train", flush=True)
    stop = threading.Event()
    class_images = config.num_class_images if config.with_prior and not done else 0
    bar = ProgressBar(phases_of(found.estimate, class_images, config.max_steps, done))
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


def _show_event(event: Event | Evaluated, bar: ProgressBar) -> None:
    if isinstance(event, Loaded):
        bar.move(CLASS_IMAGES, 0)
    elif isinstance(event, PriorImages):
        bar.move(CLASS_IMAGES, event.done)
    elif isinstance(event, TrainStep):
        bar.complete(CLASS_IMAGES)
        words = f", loss {event.subject_loss:.3f} + {event.prior_loss:.3f}"
        bar.move(TRAINING, event.step, words=words)
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
def _interrupts(bar: ProgressBar, stop: threading.Event, *, alone: bool) -> Iterator[None]:
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
