r"""A whole run: train, measure at regular steps, keep the best step's weights, write the report.

    for event in run(config, pictures, evaluate_every=100):
        if isinstance(event, Evaluated):
            print(event.step, event.metrics.numbers()["identity"])

Sampling and measuring do not change the training: the weights of each step are the same with
and without.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from accelerate import PartialState

from tlab_diffusion.dreambooth.checkpoint import resume as checkpoint
from tlab_diffusion.dreambooth.checkpoint.export import export_pipeline, stored_dtypes
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.measures.evaluator import STRIP, evaluated_steps, evaluator_of
from tlab_diffusion.dreambooth.measures.selection import Point
from tlab_diffusion.dreambooth.report.html import write_report
from tlab_diffusion.dreambooth.report.log import REPORT, RunLog, is_finished
from tlab_diffusion.dreambooth.training.trainer import Event, Finished, Loaded, TrainStep, train
from tlab_diffusion.errors import check_integer, refuse_change
from tlab_diffusion.evaluation.pictures import Sampler
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
    `report.html`. A step that is measured is saved first: a run that is killed meanwhile resumes
    there, and measures what is missing.

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
        that was measured; `Finished` comes last, when the folder is complete. It is the only event
        where an earlier run is finished: no model is loaded.

    Raises:
        InputError: see `trainer.train`; or `evaluate_every` is not a number of steps. While
            iterating: other encoders than those of the earlier run, before a step is taken.
    """
    if evaluate_every is not None:
        check_integer("evaluate_every", evaluate_every, lowest=0)
    watch = _Watch(config, pictures, evaluate_every, cache or cache_folder(), progress)
    events = train(
        config,
        pictures,
        resume=resume,
        names=names,
        cache=watch.cache,
        write=False,
        save_at=watch.steps,
        log_losses=watch.log_losses,
        stop=stop,
    )
    if resume and is_finished(config, evaluate_every):
        return _nothing_left(config)
    if not PartialState().is_main_process:
        return events
    return watch.watch(events, stop or threading.Event())


def _nothing_left(config: DreamBoothConfig) -> Iterator[Finished]:
    yield Finished(config.max_steps, config.output, None)


class _Watch:
    """Logs and measures one run."""

    def __init__(self, config, pictures, evaluate_every, cache, progress):
        self.config, self.pictures, self.cache = config, pictures, cache
        self.evaluate_every = evaluate_every
        self.steps = evaluated_steps(config.max_steps, evaluate_every)
        self.evaluator = evaluator_of(config, pictures)
        self.progress, self.drawn, self.total = progress, 0, 0

    def log_losses(self, step: int, losses: tuple[float, float], saved: bool) -> None:
        """Add a line before each checkpoint, so that a resumed run lacks no step's losses."""
        with as_input_error(self.config.output):
            self.log.add_losses(step, losses, self.config.learning_rate, saved)

    def watch(self, events: Iterator[Event], stop: threading.Event) -> Iterator[Event | Evaluated]:
        """The events, with what is measured in between."""
        for event in events:
            if isinstance(event, Finished):
                self._finish(event)
            yield event
            if isinstance(event, Loaded):
                self._begin(event)
                if self.evaluate_every:
                    yield from self._evaluate(0, event.pipeline, partial(self._original, event))
            elif isinstance(event, TrainStep):
                stopped = stop.is_set() and checkpoint.steps_done(self.config.output) == event.step
                if stopped or event.step in self.steps:
                    yield from self._evaluate(event.step, event.pipeline, self.evaluator.measure)

    def _begin(self, loaded: Loaded) -> None:
        """Read the log. This waits for `Loaded`: until then another process may write it."""
        output, done = self.config.output, checkpoint.steps_done(self.config.output)
        self.log = RunLog(output)
        self._check_encoders()
        with as_input_error(output):
            self.log.rewind(done)
            (output / REPORT).unlink(missing_ok=True)  # of fewer steps
        self.dtypes = stored_dtypes(Path(loaded.pipeline.name_or_path))
        left = [step for step in self.steps if step == 0 or step >= done]
        self.total = sum(map(self._missing_pictures, left))

    def _check_encoders(self) -> None:
        """Refuse to measure on with others: their numbers make no curve with those before."""
        earlier = self.log.encoders
        if self.evaluate_every and earlier is not None:
            where = f"the earlier run in {self.config.output}"
            now = {"encoders": self.evaluator.encoders.name}
            refuse_change({"encoders": earlier}, now, where)

    def _evaluate(
        self, step: int, pipeline, measure: Callable[[Sampler], Metrics]
    ) -> Iterator[Evaluated]:
        """Draw and measure what the log lacks of a step."""
        planned = self.drawn + self._missing_pictures(step)
        sample = self.evaluator.sampler(pipeline, after_each=self._count)
        if not self.log.has_strip(step):
            strip = self.evaluator.strip(sample)
            with as_input_error(self.config.output):
                self.log.add_strip(step, strip)
        if self.evaluate_every and not self.log.has_metrics(step):
            point = Point(step, measure(sample))
            with as_input_error(self.config.output):
                self.log.keep(point, self.evaluator.encoders.name, pipeline, self.dtypes)
            yield Evaluated(*point)
        self.total -= planned - self.drawn  # what the cache saved

    def _original(self, loaded: Loaded, sample: Sampler) -> Metrics:
        device = loaded.pipeline.device
        return self.evaluator.measure_original(sample, loaded.weights, self.cache, device)

    def _missing_pictures(self, step: int) -> int:
        """How many pictures are still to be drawn for a step."""
        number = 0 if self.log.has_strip(step) else STRIP
        if self.evaluate_every and not self.log.has_metrics(step):
            number += self.evaluator.counts.total(len(self.evaluator.prompts))
        return number

    def _count(self) -> None:
        self.drawn += 1
        self.progress("measuring", self.drawn, self.total)

    def _finish(self, event: Finished) -> None:
        """Make the folder the run's result. The report comes last: with it, all is there."""
        with as_input_error(event.folder):
            best = self.log.use_best() if self.evaluate_every else None
            if best is None:
                export_pipeline(event.pipeline, event.folder, self.dtypes)
            chosen = event.step if best is None else best
            write_sampler_settings(event.folder, self.evaluator.settings)
            write_report(event.folder, self.pictures, self.evaluator, chosen)
