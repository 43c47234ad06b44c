"""A trainer without a model, for tests of what is built around it: a run takes milliseconds."""

import functools
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from tests.dreambooth.standin import picture, pixel_encoders, point
from tests.dreambooth.tiny import PICTURES
from tlab_diffusion import files
from tlab_diffusion.dreambooth import run
from tlab_diffusion.dreambooth.checkpoint import export
from tlab_diffusion.dreambooth.checkpoint import resume as checkpoint
from tlab_diffusion.dreambooth.checkpoint.run_record import Fingerprint, RunRecord, write_run
from tlab_diffusion.dreambooth.grid import store, worker
from tlab_diffusion.dreambooth.measures import evaluator
from tlab_diffusion.dreambooth.report import log
from tlab_diffusion.dreambooth.training.trainer import Finished, Loaded, TrainStep
from tlab_diffusion.evaluation import world
from tlab_diffusion.training.trainer import Diverged


class FakePipeline(NamedTuple):
    """Its name stands for its weights."""

    name_or_path: str
    device: torch.device = torch.device("cpu")


def fake_train(config, pictures, *, resume=False, save_at=(), log_losses=None, stop=None, **_):
    """In place of `train`: the same events and files. A rate above 1 diverges at step 2."""
    checkpoint.check_output(config, Fingerprint(), resume=resume)
    log_losses, stop = log_losses or (lambda *_: None), stop or threading.Event()
    return _events(config, save_at, log_losses, stop)


def _events(config, save_at, log_losses, stop):
    write_run(config.output, RunRecord.of(config, Fingerprint(), torch.device("cpu")))
    checkpoint.drop_older(config.output)
    yield Loaded(FakePipeline("original"), "weights")
    done = checkpoint.steps_done(config.output)
    for step in range(max(1, done), config.max_steps + 1):
        if config.learning_rate > 1 and step == 2:
            raise Diverged("loss", got="nan at step 2", expected="a number")
        if step > done:
            due = config.saves_at(step) or step in save_at or stop.is_set()
            log_losses(step, losses_at(step), due)
            if due:
                checkpoint.save(config.output, {"step": torch.tensor(step)})
        yield TrainStep(step, *losses_at(step), FakePipeline(f"{config.learning_rate} {step}"))
    yield Finished(config.max_steps, config.output, FakePipeline(f"{config.learning_rate} {step}"))


def losses_at(step: int) -> tuple[float, float]:
    return 1 / step, 0.05


def fake_sampler(pipeline, *_, after_each=lambda: None, **__):
    """In place of `fast_sampler`: what is drawn follows from the pipeline's name."""

    def sample(texts, seed):
        for _ in texts:
            after_each()
        names = [f"{pipeline.name_or_path} {text} {seed}" for text in texts]
        return np.stack([picture(name)[:16, :16] for name in names])

    return sample


def fake_measure(sample, subject, prompts, *, counts, seed, encoders):
    """In place of `measure`: numbers that follow from what is drawn."""
    pictures = sample([prompt.text for prompt in prompts] * counts.per_prompt, seed)
    of_class = sample(["a robot"] * counts.per_class, seed)
    if counts.per_leak:
        sample(["a robot in the snow", "a cat in the snow"] * counts.per_leak, seed)
    identity, accuracy = (float(part.mean()) / 255 for part in (pictures[:, :9], pictures[:, 9:]))
    variety = float(of_class[:, 0].mean()) / 255
    return point(0, class_div=variety, identity=identity, prompt_accuracy=accuracy).metrics


@functools.cache
def _subject():
    return world.PictureBookWorld().subject(PICTURES, "robot", pixel_encoders())


def fake_export(pipeline, folder: Path, dtypes: dict) -> None:
    """In place of `export_pipeline`: an index with the pipeline's name."""
    folder.mkdir(parents=True, exist_ok=True)
    with files.atomic_write(folder / export.INDEX) as draft:
        draft.write_text(pipeline.name_or_path)


def fake_report(folder: Path, pictures: np.ndarray, evaluator, chosen: int) -> None:
    """In place of `write_report`, whose figures take most of the time."""
    with files.atomic_write(folder / log.REPORT) as draft:
        draft.write_text(f"step {chosen}")


@contextmanager
def fakes():
    """The fake trainer in runs and in grids, and what it draws, exports and reports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator, "fast_sampler", fake_sampler)
        patch.setattr(evaluator, "measure", fake_measure)
        patch.setattr(evaluator.Evaluator, "subject", _subject())
        patch.setattr(world, "suitable_encoders", pixel_encoders)
        patch.setattr(files, "sync", lambda path: None)  # no power cut is tested
        patch.setattr(run, "write_report", fake_report)
        for module in (run, worker):
            patch.setattr(module, "train", fake_train)
            patch.setattr(module, "stored_dtypes", lambda _: {})
        for module in (run, log, store):
            patch.setattr(module, "export_pipeline", fake_export)
        yield
