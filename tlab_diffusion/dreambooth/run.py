r"""A whole run: train, measure at regular steps, keep the best step's weights, write the report.

    for event in run(config, pictures, evaluate_every=100):
        if isinstance(event, Evaluated):
            print(event.step, event.metrics.numbers()["identity"])

Sampling and measuring do not change the training: the weights of each step are the same with
and without.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from accelerate import PartialState

from tlab_diffusion.dreambooth.checkpoint import resume as checkpoint
from tlab_diffusion.dreambooth.checkpoint.export import export_pipeline, stored_dtypes
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.measures.evaluator import STRIP, evaluated_steps, evaluator_of
from tlab_diffusion.dreambooth.measures.selection import Point
from tlab_diffusion.dreambooth.report.html import REPORT, write_report
from tlab_diffusion.dreambooth.report.log import RunLog
from tlab_diffusion.dreambooth.training.trainer import Event, Finished, Loaded, TrainStep, train
from tlab_diffusion.errors import check_integer, refuse_change
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.files import as_input_error, cache_folder
from tlab_diffusion.pipelines import write_sampler_settings

Progress = Callable[[str, int, int], None]


class Evaluated(NamedTuple):
    """A step was measured; step 0 is the original model."""

    step: int
    metrics: Metrics


def run(
    config: DreamBoothConfig,
    pictures: np.ndarray,
    *,
    evaluate_every: int | None = None,
    resume: bool = False,
    names: Sequence[str] | None = None,
    cache: Path | None = None,
    progress: Progress = lambda *_: None,
    stop: threading.Event | None = None,
) -> Iterator[Event | Evaluated]:
    r"""Train as `trainer.train` does, and save samples, metrics and the report.

    The output folder also gets `metrics.jsonl`, with the mean losses of every ten steps and all
    metrics; `samples/`, with what was drawn for four fixed prompts; and, when all else is there,
    `report.html`. A step is sampled and measured when its checkpoint is on the disk: a run that is
    killed meanwhile resumes there, and measures what is missing.

    Args:
        config: the settings.
        pictures: (N, R, R, 3) uint8, the subject's.
        evaluate_every: measure at step 0, at every so many steps and at the last one; the folder
            then gets the weights of the best step by `trade_off`. None or 0 measures nothing, and
            the folder gets the last weights.
        resume: continue an earlier run in the output folder, exactly.
        names: of the pictures' files, so that a resumed run can say which ones differ.
        cache: folder of what other runs can use again; the user's cache folder when left out.
        progress: `progress("measuring", done, total)` is called for each picture that is drawn.
        stop: see `trainer.train`; the step that is saved because of it is measured too.

    Returns:
        The events of `trainer.train`, and `Evaluated` after `Loaded` and after each `TrainStep`
        that was measured; `Finished` comes last, when the folder is complete.

    Raises:
        InputError: see `trainer.train`; or `evaluate_every` is not a number of steps. While
            iterating: other encoders than those of the earlier run, before a step is taken.
    """
    if evaluate_every is not None:
        check_integer("evaluate_every", evaluate_every, lowest=0)
    cache = cache or cache_folder()
    log = RunLog(config.output)

    def log_losses(step: int, losses: tuple[float, float], saved: bool) -> None:
        # A line before each checkpoint: a resumed run lacks no step's losses.
        with as_input_error(config.output):
            log.add_losses(step, losses, config.learning_rate, saved)

    events = train(
        config,
        pictures,
        resume=resume,
        names=names,
        cache=cache,
        write=False,
        log_losses=log_losses,
        stop=stop,
    )
    if not PartialState().is_main_process:
        return events
    watch = _Watch(config, pictures, evaluate_every, cache, log, progress)
    return watch.watch(events, stop or threading.Event())


class _Watch:
    """The log and the metrics of one run."""

    def __init__(self, config, pictures, evaluate_every, cache, log, progress):
        self.config, self.pictures, self.cache = config, pictures, cache
        self.evaluate_every = evaluate_every
        self.steps = evaluated_steps(config.max_steps, evaluate_every)
        self.log = log
        self.evaluator = evaluator_of(config, pictures)
        self.progress, self.drawn, self.total = progress, 0, 0

    def watch(self, events: Iterator[Event], stop: threading.Event) -> Iterator[Event | Evaluated]:
        for event in events:
            if isinstance(event, Finished):
                self._leave(event)
            yield event
            if isinstance(event, Loaded):
                yield from self._begin(event)
            elif isinstance(event, TrainStep):
                stopped = stop.is_set() and checkpoint.steps_done(self.config.output) == event.step
                if stopped or event.step in self.steps:
                    yield from self._look(event)

    def _begin(self, loaded: Loaded) -> Iterator[Evaluated]:
        self._check_encoders()
        with as_input_error(self.config.output):
            self.log.rewind(checkpoint.steps_done(self.config.output))
        self.total = sum(map(self._missing_pictures, self.steps))
        self.dtypes = stored_dtypes(Path(loaded.pipeline.name_or_path))
        if self.evaluate_every and not self._measured(0):
            planned = self.drawn + self._missing_pictures(0)
            sample = self.evaluator.sampler(loaded.pipeline, after_each=self._count)
            with as_input_error(self.config.output):
                self.log.add_strip(0, self.evaluator.strip(sample))
                original = self.evaluator.measure_original(
                    sample, loaded.weights, self.cache, loaded.pipeline.device
                )
                self.log.add_metrics(0, original, self.evaluator.encoders.name)
            self.total -= planned - self.drawn  # what the cache saved
            yield Evaluated(0, original)

    def _check_encoders(self) -> None:
        """Refuse to measure on with others: their numbers make no curve with those before."""
        earlier = self.log.encoders
        if self.evaluate_every and earlier is not None:
            where = f"the earlier run in {self.config.output}"
            now = {"encoders": self.evaluator.encoders.name}
            refuse_change({"encoders": earlier}, now, where)

    def _look(self, event: TrainStep) -> Iterator[Evaluated]:
        """Draw and measure what the log lacks of a step."""
        sample = self.evaluator.sampler(event.pipeline, after_each=self._count)
        if not self.log.has_strip(event.step):
            strip = self.evaluator.strip(sample)
            with as_input_error(self.config.output):
                self.log.add_strip(event.step, strip)
        if self.evaluate_every and not self._measured(event.step):
            point = Point(event.step, self.evaluator.measure(sample))
            with as_input_error(self.config.output):
                self.log.keep_if_best(point, event.pipeline, self.dtypes)
                self.log.add_metrics(*point, self.evaluator.encoders.name)
                self.log.drop_worse()
            yield Evaluated(*point)

    def _missing_pictures(self, step: int) -> int:
        """How many pictures are still to be drawn for a step."""
        number = 0 if self.log.has_strip(step) else STRIP
        if self.evaluate_every and not self._measured(step):
            number += self.evaluator.counts.total(len(self.evaluator.prompts))
        return number

    def _count(self) -> None:
        self.drawn += 1
        self.progress("measuring", self.drawn, self.total)

    def _measured(self, step: int) -> bool:
        return any(point.step == step for point in self.log.points())

    def _leave(self, event: Finished) -> None:
        """Make the folder the run's result. The report comes last: with it, all is there."""
        with as_input_error(event.folder):
            (event.folder / REPORT).unlink(missing_ok=True)  # of fewer steps
            best = self.log.use_best() if self.evaluate_every else None
            if best is None:
                export_pipeline(event.pipeline, event.folder, self.dtypes)
            chosen = event.step if best is None else best
            write_sampler_settings(event.folder, self.evaluator.settings)
            write_report(event.folder, self.pictures, self.evaluator, chosen)
