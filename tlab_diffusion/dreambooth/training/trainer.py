r"""The DreamBooth trainer, as a generator of events: the caller shows, measures, stops.

    config = DreamBoothConfig(subject_images=..., identifier="sks", class_noun="robot", output=...)
    for event in train(config, pictures):
        if isinstance(event, TrainStep):
            print(event.step, event.loss)

Everything random in a step follows from (seed, step, number of the sample), so parts, processes
and an interruption change nothing but the order of sums.
"""

import math
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from accelerate import PartialState
from filelock import FileLock, Timeout

from tlab_diffusion.dreambooth.cache.class_images import (
    ClassImageSettings,
    load_class_images,
    sample_class_images,
)
from tlab_diffusion.dreambooth.cache.latents import latent_distributions
from tlab_diffusion.dreambooth.checkpoint import resume as checkpoint
from tlab_diffusion.dreambooth.checkpoint.export import export_pipeline, stored_dtypes, with_parts
from tlab_diffusion.dreambooth.checkpoint.run_record import (
    Fingerprint,
    RunRecord,
    is_run,
    write_run,
)
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.data.batches import TrainingSet, check_shares
from tlab_diffusion.dreambooth.families import family_of
from tlab_diffusion.dreambooth.families.base import OriginalModel
from tlab_diffusion.dreambooth.training.optimizers import check_optimizer
from tlab_diffusion.dreambooth.training.step import new_trainer, take_step
from tlab_diffusion.errors import InputError
from tlab_diffusion.files import as_input_error, cache_folder
from tlab_diffusion.pipelines import check_model, load
from tlab_diffusion.training import checkpoints, fingerprint
from tlab_diffusion.training.hardware import run_device, tune_malloc
from tlab_diffusion.training.precision import choose_precision
from tlab_diffusion.training.trainer import Trainer


class Loaded(NamedTuple):
    """The original model is there, before anything is learned."""

    pipeline: object  # leave its weights as they are
    weights: str  # their fingerprint


class PriorImages(NamedTuple):
    """The original model has drawn this many of the class pictures."""

    done: int
    num: int


class TrainStep(NamedTuple):
    """One step is done, and its checkpoint, if one is due, is on the disk.

    A resumed run starts with the event of its checkpoint's step once more: a caller that saw that
    step may have been killed before everything about it was written.
    """

    step: int  # counted from 1
    subject_loss: float
    prior_loss: float  # times lambda
    pipeline: object  # draws with what has been learned so far; leave its weights as they are

    @property
    def loss(self) -> float:
        """Total loss."""
        return self.subject_loss + self.prior_loss


class Finished(NamedTuple):
    """All steps are done. It also comes where a resumed run had no step left to take."""

    step: int
    folder: Path  # the output; the tuned pipeline, unless the caller writes that
    # Draws with what has been learned; leave its weights as they are. None if `run` found an
    # earlier run finished, for then nothing is loaded.
    pipeline: object | None


Event = Loaded | PriorImages | TrainStep | Finished
LogLosses = Callable[[int, tuple[float, float], bool], None]


def train(
    config: DreamBoothConfig,
    pictures: np.ndarray,
    *,
    resume: bool = False,
    names: Sequence[str] | None = None,
    cache: Path | None = None,
    write: bool = True,
    save_at: Collection[int] = (),
    log_losses: LogLosses | None = None,
    stop: threading.Event | None = None,
) -> Iterator[Event]:
    r"""Teach a model a subject, by DreamBooth (arXiv:2208.12242) or a lighter method.

    Bad input is refused at the call, before a model is loaded or anything is written.

    Args:
        config: the settings.
        pictures: (N, R, R, 3) uint8, the subject's, R being the resolution.
        resume: continue an earlier run in the output folder from its newest checkpoint.
            Start a new run if there is none.
        names: of the pictures' files, so that a resumed run can say which ones differ.
        cache: folder of what other runs can use again; the user's cache folder when left out.
        write: make the output folder a pipeline before `Finished`; False leaves that to the caller.
        save_at: further steps with a checkpoint, besides those of `config.saves_at`.
        log_losses: `log_losses(step, losses, saved)` is called in the main process after each step
            and before its checkpoint, if one is `saved`: no loss of a saved step is lost.
        stop: once it is set, every step is saved; the caller may stop after the next `TrainStep`.

    Returns:
        An iterator of events: `Loaded`, `PriorImages` while class pictures are drawn, a `TrainStep`
        after each step and its checkpoint, and `Finished`.

    Raises:
        InputError: bad pictures, model or precision; an output folder that holds something else,
            or an earlier run with other settings; more processes than a step has samples. While
            iterating: another process' run in the output folder; a loss that is not a finite
            number, or a disk that is full; the newest checkpoint is whole in either case.
    """
    _check_pictures(pictures, config.resolution)
    check_model(config.model)
    precision = choose_precision(config.precision, run_device())
    check_optimizer(config.optimizer, run_device())
    inputs = Fingerprint.of(pictures, precision, names)
    check_shares(config, PartialState().num_processes)
    checkpoint.check_output(config, inputs, resume=resume)
    cache = cache or cache_folder()
    steps = partial(
        _steps,
        save_at=save_at,
        log_losses=log_losses or (lambda *_: None),
        stop=stop or threading.Event(),
    )
    return _train(config, pictures, inputs, cache, write, steps)


@contextmanager
def _run_lock(output: Path, cache: Path) -> Iterator[None]:
    """Refuse an output folder in which another process' run is at work."""
    if not PartialState().is_main_process:
        yield
        return
    path = cache / "runs" / fingerprint.content_key(str(output.resolve()))
    with as_input_error(cache, "cache"):
        path.parent.mkdir(parents=True, exist_ok=True)
    # One for the whole process, which may start again where it was interrupted.
    lock = FileLock(path.with_suffix(".lock"), is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        got, fix = f"a run that is at work in {output}", "Wait for it, or choose another folder."
        raise InputError("output", got=got, expected="one at a time", fix=fix) from error
    try:
        yield
    finally:
        lock.release()


def _train(
    config: DreamBoothConfig,
    pictures: np.ndarray,
    inputs: Fingerprint,
    cache: Path,
    write: bool,
    steps: Callable[..., Iterator[TrainStep]],
) -> Iterator[Event]:
    tune_malloc()
    with _run_lock(config.output, cache):
        pipeline = load(config.model, run_device())
        family = family_of(pipeline)
        inputs = replace(inputs, weights=family.fingerprint(pipeline))
        _begin(config, inputs)
        yield Loaded(pipeline, inputs.weights)
        subject = latent_distributions(pipeline, pictures, cache, inputs.weights)
        class_images = None
        if config.with_prior:
            num = config.num_class_images
            settings = ClassImageSettings.of(config, inputs.weights, inputs.precision, subject)
            for done in sample_class_images(pipeline, settings, num, cache):
                yield PriorImages(done, num)
            class_images = load_class_images(pipeline, settings, num, cache)
        data = TrainingSet(
            config, subject, class_images, family.noising(pipeline, config.snr_gamma)
        )
        original = family.original(pipeline, config) if config.predicts_prior else None
        trainer = new_trainer(family.prepare(pipeline, config), config, inputs.precision)
        saved = checkpoint.newest(config.output)
        if saved is not None:
            trainer.load_state_dict(checkpoints.load(saved))
        ema = trainer.ema_model
        tuned = pipeline if ema is None else with_parts(pipeline, ema.parts())
        yield from steps(trainer, data, tuned, original)
        if write and PartialState().is_main_process:
            with as_input_error(config.output):
                export_pipeline(tuned, config.output, stored_dtypes(Path(pipeline.name_or_path)))
        PartialState().wait_for_everyone()
        yield Finished(trainer.global_step, config.output, tuned)


def _steps(
    trainer: Trainer,
    data: TrainingSet,
    tuned: object,
    original: OriginalModel | None,
    *,
    save_at: Collection[int],
    log_losses: LogLosses,
    stop: threading.Event,
) -> Iterator[TrainStep]:
    """Take the remaining steps; log and save each before it is yielded."""
    config = data.config

    def save() -> None:
        if PartialState().is_main_process:
            step = trainer.global_step
            due = config.saves_at(step) or step in save_at or stop.is_set()
            log_losses(step, tuple(trainer.losses), due)
            if due:
                checkpoint.save(config.output, trainer.state_dict())

    for step in trainer.run(config.max_steps, partial(take_step, trainer, data, original), save):
        # A checkpoint of an earlier version has no losses.
        yield TrainStep(step, *(trainer.losses or (math.nan, math.nan)), tuned)


def _begin(config: DreamBoothConfig, inputs: Fingerprint) -> None:
    """Write the run's record, once every process has found its output folder right."""
    state = PartialState()
    state.wait_for_everyone()
    if is_run(config.output):
        checkpoint.check_same(config.output, config, inputs)
    state.wait_for_everyone()
    if state.is_main_process:
        with as_input_error(config.output):
            checkpoint.drop_older(config.output)
            saved = checkpoint.newest(config.output) is not None
            record = RunRecord.of(config, inputs, state.device)
            write_run(config.output, replace(record, saved=saved))


def _check_pictures(pictures: object, side: int) -> None:
    right = isinstance(pictures, np.ndarray) and pictures.dtype == np.uint8
    if not right or pictures.shape[1:] != (side, side, 3) or not len(pictures):
        shape = getattr(pictures, "shape", None)
        raise InputError(
            "pictures",
            got=type(pictures).__name__ if shape is None else f"{pictures.dtype} of shape {shape}",
            expected=f"uint8 of shape (N, {side}, {side}, 3), with N from 1 up",
        )
