r"""A worker of a grid: one training for each learning rate, measured at every number of steps.

The learning rate is constant, so a training of 1000 steps is, after 200 of them, a training of 200
steps, and a row of the grid costs no more than its last trial. All trials are sampled from the same
noise for the same prompts: they differ only in what is searched.
"""

import gc
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlab_diffusion.dreambooth.checkpoint import resume as checkpoint
from tlab_diffusion.dreambooth.checkpoint.export import stored_dtypes
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.grid.result import Grid, GridPoint, Trial, new_trial
from tlab_diffusion.dreambooth.grid.store import PARTS, GridStore
from tlab_diffusion.dreambooth.measures.evaluator import Evaluator, evaluator_of
from tlab_diffusion.dreambooth.preflight.resources import pictures_of
from tlab_diffusion.dreambooth.presets import native_resolution
from tlab_diffusion.dreambooth.run import Progress
from tlab_diffusion.dreambooth.training.trainer import Event, Loaded, TrainStep, train
from tlab_diffusion.errors import refuse_change
from tlab_diffusion.evaluation.measure import SampleCounts
from tlab_diffusion.evaluation.pictures import Sampler
from tlab_diffusion.files import as_input_error
from tlab_diffusion.pipelines.sampler_settings import measuring_settings
from tlab_diffusion.training import fingerprint
from tlab_diffusion.training.hardware import run_device
from tlab_diffusion.training.precision import choose_precision
from tlab_diffusion.training.trainer import Diverged

POLL_EVERY = 1.0  # seconds, while other workers have all trainings that are left
# Settings that differ between trainings, or may change while a grid grows. The number of parts of a
# step may not: all workers take the one with which the grid began.
FREE = {*checkpoint.FREE, "learning_rate"} - {PARTS}


class Training(NamedTuple):
    """A training begins or resumes."""

    learning_rate: float
    steps: int  # the last one


class Measured(NamedTuple):
    """A trial is measured and recorded."""

    trial: Trial
    grid: Grid  # with it


@dataclass(frozen=True)
class Search:
    r"""What is searched, and how; each worker has a copy.

    Args:
        config: of all trainings; its output is the grid's folder, its learning rate and steps are
            ignored.
        pictures: (N, R, R, 3) uint8, the subject's.
        learning_rates, steps: of the grid.
        counts: how many pictures measure a trial.
        cache: folder of what other runs can use again.
    """

    config: DreamBoothConfig
    pictures: np.ndarray
    learning_rates: tuple[float, ...]
    steps: tuple[int, ...]
    counts: SampleCounts
    cache: Path

    @property
    def store(self) -> GridStore:
        """The grid on the disk."""
        return GridStore(self.config.output)

    @property
    def settings(self) -> dict:
        """What all trials have in common."""
        settings = {n: v for n, v in self.config.as_dict().items() if n not in FREE}
        return settings | {
            "pictures": fingerprint.content_key(self.pictures),
            "precision": choose_precision(self.config.precision, run_device()),
            "counts": asdict(self.counts),
            "guidance_scale": measuring_settings(
                native_resolution(self.config.model)
            ).guidance_scale,
        }

    def training(self, rate: float, steps: int) -> DreamBoothConfig:
        """The settings of one training."""
        output = self.store.training(rate)
        return replace(self.config, learning_rate=rate, max_steps=steps, output=output)


class Worker:
    """Trains and measures until no trial is missing."""

    def __init__(self, search: Search, progress: Progress = lambda *_: None):
        self.progress, self.drawn = progress, 0
        self.store = search.store
        grid = self.store.begin(search.settings, search.learning_rates, search.steps)
        parts = grid.settings[PARTS]
        config = replace(search.config, gradient_accumulation_steps=parts)
        self.search = replace(search, config=config)

    @cached_property
    def evaluator(self) -> Evaluator:
        """How all trials are measured."""
        return evaluator_of(self.search.config, self.search.pictures, counts=self.search.counts)

    def work(self) -> Iterator[Event | Training | Measured]:
        """Take trainings that no other worker has, until the grid is complete."""
        while missing := self.store.read().missing:
            for rate in sorted({point.learning_rate for point in missing}):
                with self.store.taken(rate) as free:
                    if free:
                        yield from self._train(rate)
                        break
            else:  # others have all that is left; one of them may still die
                time.sleep(POLL_EVERY)
        self.store.drop_trainings()

    def _train(self, rate: float) -> Iterator[Event | Training | Measured]:
        """Measure what is missing at a learning rate."""
        todo = self._missing(rate)
        if not todo:
            return
        config = self.search.training(rate, todo[-1].steps)
        if not self.store.steps_done(rate, todo[0].steps):
            self.store.drop_training(rate)
        yield Training(rate, config.max_steps)
        try:
            yield from self._watch(config, {point.steps: point for point in todo})
        except Diverged as error:
            self.store.add_failed(self._missing(rate), f"{error.name} {error.got}")
        # In half precision accelerate ties a model into a circle with its own `forward`: it would
        # stay in memory together with the next one, or with another worker's on the same GPU.
        gc.collect()
        self.store.drop_training(rate)

    def _missing(self, rate: float) -> list[GridPoint]:
        return [point for point in self.store.read().missing if point.learning_rate == rate]

    def _watch(
        self, config: DreamBoothConfig, todo: dict[int, GridPoint]
    ) -> Iterator[Event | Measured]:
        """Train, and measure at each number of steps."""
        dtypes = {}
        options = {"resume": True, "cache": self.search.cache, "save_at": todo}
        for event in train(config, self.search.pictures, **options):
            yield event
            if isinstance(event, Loaded):
                dtypes = stored_dtypes(Path(event.pipeline.name_or_path))
                self._measure_original(event)
            elif isinstance(event, TrainStep) and event.step in todo:
                yield self._measure(todo[event.step], event.pipeline, dtypes)
                if event.step == config.max_steps:
                    return  # nothing needs the trained pipeline

    def _measure_original(self, loaded: Loaded) -> None:
        evaluator, grid = self.evaluator, self.store.read()
        common = {
            "weights": loaded.weights,
            "encoders": evaluator.encoders.name,
            "prompts": evaluator.fixed_texts,
        }
        refuse_change(grid.settings, common, f"the earlier grid in {self.store.path}")
        if grid.original is None:
            sample = self._sampler(loaded.pipeline)
            with as_input_error(self.store.path):
                metrics = evaluator.measure_original(
                    sample, loaded.weights, self.search.cache, loaded.pipeline.device
                )
                self.store.add_original(metrics, evaluator.strip(sample), common)

    def _measure(self, point: GridPoint, pipeline, dtypes: dict) -> Measured:
        sample = self._sampler(pipeline)
        metrics, strip = self.evaluator.measure(sample), self.evaluator.strip(sample)
        trial = new_trial(point, metrics, self.store.read().original)
        with as_input_error(self.store.path):
            settings = self.evaluator.settings
            return Measured(trial, self.store.add(trial, strip, pipeline, dtypes, settings))

    def _sampler(self, pipeline) -> Sampler:
        """The evaluator's, which counts the pictures that all missing evaluations draw."""
        grid = self.store.read()
        evaluations = len(grid.missing) + (grid.original is None)
        total = self.drawn + evaluations * pictures_of(self.search.counts)

        def count() -> None:
            self.drawn += 1
            self.progress("measuring", self.drawn, total)

        return self.evaluator.sampler(pipeline, after_each=count)
