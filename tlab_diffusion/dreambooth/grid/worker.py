r"""Who fills a grid: one training for each learning rate, measured at every step count.

The learning rate is constant. So a training of 1000 steps is, after 200 of them, a training of 200
steps, and a row of the grid costs no more than its last cell. All cells are drawn from the same
noise for the same prompts: they differ in nothing but what is searched.
"""

import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlab_diffusion.dreambooth.checkpoint import resume as checkpoint
from tlab_diffusion.dreambooth.checkpoint.export import stored_dtypes
from tlab_diffusion.dreambooth.checkpoint.run_record import is_run
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.grid.result import Cell, Grid, Place, new_cell
from tlab_diffusion.dreambooth.grid.store import PARTS, GridFolder
from tlab_diffusion.dreambooth.grid.study import GridStudy, open_storage
from tlab_diffusion.dreambooth.measures.evaluator import Evaluator, evaluator_of
from tlab_diffusion.dreambooth.presets import native_resolution
from tlab_diffusion.dreambooth.training.step import Diverged
from tlab_diffusion.dreambooth.training.trainer import Event, Loaded, TrainStep, train
from tlab_diffusion.errors import refuse_change
from tlab_diffusion.evaluation.measure import SampleCounts
from tlab_diffusion.files import as_input_error
from tlab_diffusion.pipelines.sampler_settings import measuring_settings
from tlab_diffusion.training import fingerprint
from tlab_diffusion.training.hardware import run_device
from tlab_diffusion.training.precision import choose_precision

PATIENCE = 1.0  # seconds, where all that is left is in other hands
# What differs from training to training, or may change while a grid grows. The parts of a step may
# not: all workers take those with which the grid began.
FREE = {*checkpoint.FREE, "learning_rate"} - {PARTS}


class Training(NamedTuple):
    """A training begins, or goes on."""

    learning_rate: float
    steps: int  # of its end


class Measured(NamedTuple):
    """A cell is known."""

    cell: Cell
    grid: Grid  # with it


@dataclass(frozen=True)
class Search:
    r"""What is searched, and how; each worker has one.

    Args:
        config: of all trainings; its learning rate, steps and output are the grid's.
        pictures: (N, R, R, 3) uint8, the subject's.
        learning_rates, steps: of the grid.
        counts: how many pictures measure a cell.
        storage: URL of a database for the study, or None.
        cache: folder of what other runs can use again.
    """

    config: DreamBoothConfig
    pictures: np.ndarray
    learning_rates: tuple[float, ...]
    steps: tuple[int, ...]
    counts: SampleCounts
    storage: str | None
    cache: Path

    @property
    def folder(self) -> GridFolder:
        """Where all that is found lies."""
        return GridFolder(self.config.output)

    @property
    def settings(self) -> dict:
        """What all cells have in common."""
        settings = {n: v for n, v in self.config.as_dict().items() if n not in FREE}
        return settings | {
            "pictures": fingerprint.content_key(self.pictures),
            "precision": choose_precision(self.config.precision, run_device()),
            "counts": asdict(self.counts),
            "guidance_scale": measuring_settings(
                native_resolution(self.config.model)
            ).guidance_scale,
        }

    @property
    def study_name(self) -> str:
        """The study's name, of these settings, learning rates and steps."""
        settings = self.settings | {PARTS: None}  # which memory decides
        name = fingerprint.content_key(settings, self.learning_rates, self.steps)[:12]
        return f"{self.config.identifier} {self.config.class_noun} {name}"

    def training(self, rate: float, steps: int) -> DreamBoothConfig:
        """The settings of one training."""
        output = self.folder.training(rate)
        return replace(self.config, learning_rate=rate, max_steps=steps, output=output)


class Worker:
    """One of those who fill a grid."""

    def __init__(self, search: Search):
        self.folder = search.folder
        grid = self.folder.begin(search.settings, search.learning_rates, search.steps)
        parts = grid.settings[PARTS]
        config = replace(search.config, gradient_accumulation_steps=parts)
        self.search = replace(search, config=config)
        storage = open_storage(search.storage, self.folder.path)
        self.study = GridStudy(storage, search.study_name, grid, self.folder.locked())

    @cached_property
    def evaluator(self) -> Evaluator:
        """How all cells are measured."""
        return evaluator_of(self.search.config, self.search.pictures, counts=self.search.counts)

    def work(self) -> Iterator[Event | Training | Measured]:
        """Ask for cells and see to them, until all are known."""
        while True:
            place = self.study.ask()
            missing = [each.learning_rate for each in self.folder.read().missing]
            rates = sorted(set(missing)) if place is None else [place.learning_rate]
            worked = yield from self._train_one_of(rates)
            grid = self.folder.read()
            self.study.tell(grid)
            if place is None and not grid.missing:
                self.folder.drop_trainings()
                return
            if place is None and not worked:
                time.sleep(PATIENCE)

    def _train_one_of(self, rates: Sequence[float]) -> Iterator:
        """Train at the first of these learning rates that is free; whether one was."""
        for rate in rates:
            with self.folder.taken(rate) as free:
                if free:
                    yield from self._train(rate)
                    return True
        return False

    def _train(self, rate: float) -> Iterator[Event | Training | Measured]:
        """See to all that is missing at a learning rate."""
        todo = self._missing(rate)
        if not todo:
            return
        config = self.search.training(rate, todo[-1].steps)
        done = checkpoint.steps_done(config.output)
        if not is_run(config.output) or done >= todo[0].steps:
            self.folder.drop_training(rate)  # it did not begin, or is beyond what is missing
        yield Training(rate, config.max_steps)
        try:
            yield from self._watch(config, {place.steps: place for place in todo})
        except Diverged as error:
            self.folder.add_broken(self._missing(rate), f"{error.name} {error.got}")
        # In half precision accelerate ties a model into a circle with its own `forward`: it would
        # stay in memory beside the next one, or beside another worker's on the same GPU.
        gc.collect()
        self.folder.drop_training(rate)

    def _missing(self, rate: float) -> list[Place]:
        return [place for place in self.folder.read().missing if place.learning_rate == rate]

    def _watch(
        self, config: DreamBoothConfig, todo: dict[int, Place]
    ) -> Iterator[Event | Measured]:
        """Train, and measure on the way."""
        dtypes = {}
        for event in train(config, self.search.pictures, resume=True, cache=self.search.cache):
            yield event
            if isinstance(event, Loaded):
                dtypes = stored_dtypes(Path(event.pipeline.name_or_path))
                self._measure_original(event)
            elif isinstance(event, TrainStep) and event.step in todo:
                yield self._measure(todo[event.step], event.pipeline, dtypes)
                if event.step == config.max_steps:
                    return  # nobody goes on from here

    def _measure_original(self, loaded: Loaded) -> None:
        evaluator, grid = self.evaluator, self.folder.read()
        facts = {
            "weights": loaded.weights,
            "encoders": evaluator.encoders.name,
            "prompts": evaluator.fixed_texts,
        }
        refuse_change(grid.settings, facts, f"the earlier grid in {self.folder.path}")
        if grid.original is None:
            sample = evaluator.sampler(loaded.pipeline)
            with as_input_error(self.folder.path):
                metrics = evaluator.measure_original(
                    sample, loaded.weights, self.search.cache, loaded.pipeline.device
                )
                self.folder.add_original(metrics, evaluator.strip(sample), facts)

    def _measure(self, place: Place, pipeline, dtypes: dict) -> Measured:
        sample = self.evaluator.sampler(pipeline)
        metrics, strip = self.evaluator.measure(sample), self.evaluator.strip(sample)
        cell = new_cell(place, metrics, self.folder.read().original)
        with as_input_error(self.folder.path):
            self.folder.add(cell, strip, pipeline, dtypes)
        return Measured(cell, self.folder.read())
