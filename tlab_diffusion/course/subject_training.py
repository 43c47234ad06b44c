r"""DreamBooth in a notebook: `train_subject` shows a run in the live view.

It can be interrupted, goes on when it is called again, and says so when nothing is left to do.
"""

import os
import threading
from dataclasses import replace
from pathlib import Path

from tlab_diffusion.course.live_view import AGAIN, LiveView, gentle_interrupts
from tlab_diffusion.course.stored import load_grid
from tlab_diffusion.course.widgets.trade_off import STORED_RATE, Samples, one_row, read_run
from tlab_diffusion.dreambooth.checkpoint.resume import steps_done
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.measures.evaluator import evaluator_of
from tlab_diffusion.dreambooth.measures.sampling import fast_sampler
from tlab_diffusion.dreambooth.measures.selection import Point
from tlab_diffusion.dreambooth.preflight.checks import Preflight
from tlab_diffusion.dreambooth.report.contact_sheet import read_strip
from tlab_diffusion.dreambooth.report.log import REPORT, RunLog
from tlab_diffusion.dreambooth.run import Evaluated, run
from tlab_diffusion.dreambooth.training.trainer import Finished, PriorImages, TrainStep
from tlab_diffusion.pipelines import write_sampler_settings

WORK = "TLAB_WORK"  # the learner's folder; `tlab lab` sets it
QUICK_STEPS = 6  # of the sampler, for the pictures of the live view


def own_folder(name: str) -> Path:
    """Where a model of the learner is kept: `models/NAME` in the learner's folder."""
    return Path(os.environ.get(WORK) or ".") / "models" / name


def train_subject(found: Preflight, *, evaluate_every: int, cache: Path | None = None) -> str:
    r"""Teach a model a subject, or go on with that, and show it in the live view.

    The first interrupt ends the run after its step, which is saved and measured; a second one, or
    one while nothing is trained, ends it at once. The folder then holds the best step so far.

    Args:
        found: the preflight report, made with `resume=True`.
        evaluate_every: steps between two measurements.
        cache: see `run`.

    Returns:
        What `load` takes: the run's folder, or the original model where no step was measured.

    Raises:
        InputError: see `run`.
    """
    training = _Training(found, evaluate_every, cache)
    if _is_complete(found.config):
        training.show_again()
    else:
        training.go_on()
    has_model = (found.config.output / "model_index.json").is_file()
    return str(found.config.output) if has_model else found.config.model


class _Training:
    """One call of `train_subject`."""

    def __init__(self, found: Preflight, evaluate_every: int, cache: Path | None):
        self.config, self.log = found.config, RunLog(found.config.output)
        self.evaluator = evaluator_of(found.config, found.pictures)
        self.stop = threading.Event()
        self.waits = False  # whether an interrupt waits for the end of a step
        self.events = run(  # refuses other settings than those of the earlier run
            found.config,
            found.pictures,
            evaluate_every=evaluate_every,
            resume=True,
            names=found.names,
            cache=cache,
            progress=self._progress,
            stop=self.stop,
        )
        self.done = steps_done(found.config.output)
        losses = losses_of(self.log.lines, self.done)
        self.view = LiveView(found.config.max_steps, self.evaluator.fixed_texts, losses)

    def go_on(self) -> None:
        """Train until the end or an interrupt."""
        self.view.phase("Loading", 0, 1)
        event = None
        with gentle_interrupts(self.stop, lambda: self.waits):
            try:
                for event in self.events:
                    self._show(event)
                    if self.stop.is_set() and isinstance(event, Evaluated):
                        break
            except KeyboardInterrupt:
                pass
            self.events.close()
        if isinstance(event, Finished):
            self.view.close(f"Done: {event.step} steps. {self._place()}", True)
            return
        if RunLog(self.config.output).use_best() is not None:  # with what the run has added
            write_sampler_settings(self.config.output, self.evaluator.settings)
        done = steps_done(self.config.output)
        state = f"Interrupted after step {done} of {self.config.max_steps}."
        self.view.close(f"{state} {AGAIN}", False)

    def show_again(self) -> None:
        """Show a run that is complete."""
        self.view.show(read_strip(self.log.strips()[-1]))
        anew = f"To start anew: import shutil; shutil.rmtree({str(self.config.output)!r})"
        self.view.close(f"Already done: {self.done} steps. {self._place()} {anew}", False)

    def _show(self, event: object) -> None:
        if isinstance(event, PriorImages):
            self.view.phase("Pictures of the class", event.done, event.num)
        elif isinstance(event, TrainStep):
            self.waits = True
            if event.step > self.done:  # a resumed run repeats the step of its checkpoint
                self.view.step(event.step, event.loss)
            if self.view.due() or event.step == self.config.max_steps:
                self.view.draw(self._draw, event)

    def _draw(self, event: TrainStep):
        settings = self.evaluator.settings
        quick = replace(settings, steps=min(QUICK_STEPS, settings.steps))
        return fast_sampler(event.pipeline, quick)(self.evaluator.fixed_texts, self.evaluator.seed)

    def _progress(self, what: str, done: int, total: int) -> None:
        self.waits = False
        self.view.phase("Pictures to measure", done, total)

    def _place(self) -> str:
        folder = self.config.output.resolve()
        base = Path(os.environ.get(WORK) or ".").resolve().parent
        shown = folder.relative_to(base) if folder.is_relative_to(base) else folder
        return f"The model is in {shown}."


def measured(found: Preflight) -> tuple[list[Point], Samples | None]:
    r"""The measured steps of a run and what it drew there, for `trade_off_explorer`.

    Where the run has nothing after step 0, it says so and gives a stored run instead.
    """
    prompts = evaluator_of(found.config, found.pictures).fixed_texts
    points, samples = read_run(found.config.output, prompts)
    if len(points) > 1:
        return points, samples
    print("This run is not measured yet. These are the numbers of a stored run with Pip.")
    return one_row(load_grid(), STORED_RATE)


def losses_of(lines: list[dict], done: int) -> list[float]:
    r"""The losses of the first `done` steps from a run's log, whose lines are means of some."""
    losses: list[float] = []
    for line in lines:
        if "subject_loss" in line and line["step"] <= done:
            mean = line["subject_loss"] + line["prior_loss"]
            losses += [mean] * (line["step"] - len(losses))
    return losses


def _is_complete(config: DreamBoothConfig) -> bool:
    return steps_done(config.output) >= config.max_steps and (config.output / REPORT).is_file()
