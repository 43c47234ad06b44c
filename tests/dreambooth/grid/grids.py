"""Small grids: a real trainer on a tiny pipeline, or a fake one that takes no time.

As a script, a search in a process of its own, which kills itself after so many events.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from tests.dreambooth.standin import hashed_sample, picture, pixel_encoders
from tests.dreambooth.tiny import PICTURES, model_folder, new_config
from tlab_diffusion.dreambooth.checkpoint import resume as checkpoint
from tlab_diffusion.dreambooth.checkpoint.run_record import Fingerprint, RunRecord, write_run
from tlab_diffusion.dreambooth.grid import search as grid_search
from tlab_diffusion.dreambooth.grid import store, worker
from tlab_diffusion.dreambooth.grid.report import table
from tlab_diffusion.dreambooth.grid.search import search
from tlab_diffusion.dreambooth.grid.worker import Training
from tlab_diffusion.dreambooth.measures import evaluator
from tlab_diffusion.dreambooth.training.trainer import Finished, Loaded, TrainStep
from tlab_diffusion.evaluation import world
from tlab_diffusion.evaluation.measure import SampleCounts

RATES, STEPS = [1e-3, 1e-4], [2, 5, 3]
COUNTS = SampleCounts(per_prompt=1, per_class=8)


class FakePipeline(NamedTuple):
    """Its name stands for its weights."""

    name_or_path: str
    device: torch.device = torch.device("cpu")


def fake_train(config, pictures, *, resume, cache):
    """In place of `train`: the same events and files. A rate above 1 diverges at step 2."""
    checkpoint.check_output(config, Fingerprint(), resume=resume)
    write_run(config.output, RunRecord.of(config, Fingerprint(), torch.device("cpu")))
    yield Loaded(FakePipeline("original"), "weights")
    done = checkpoint.steps_done(config.output)
    for step in range(max(1, done), config.max_steps + 1):
        if config.learning_rate > 1 and step == 2:
            raise worker.Diverged("loss", got="nan at step 2", expected="a number")
        if step > done and config.saves_at(step):
            checkpoint.save(config.output, {"step": torch.tensor(step)})
        yield TrainStep(step, 0.1, 0.0, FakePipeline(f"{config.learning_rate} {step}"))
    yield Finished(config.max_steps, config.output, None)


def fake_sampler(pipeline, *_, **__):
    """In place of `fast_sampler`: what is drawn follows from the pipeline's name."""

    def sample(texts, seed):
        return np.stack([picture(f"{pipeline.name_or_path} {text} {seed}") for text in texts])

    return sample


def fake_export(pipeline, folder: Path, dtypes: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name.txt").write_text(pipeline.name_or_path)


@contextmanager
def stand_ins(*, fake: bool = False):
    """In place of what takes time; `fake` replaces the trainer too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator, "fast_sampler", fake_sampler if fake else hashed_sample)
        patch.setattr(world, "suitable_encoders", pixel_encoders)
        patch.setattr(grid_search, "write_report", write_table)
        if fake:
            patch.setattr(worker, "train", fake_train)
            patch.setattr(worker, "stored_dtypes", lambda _: {})
            patch.setattr(store, "export_pipeline", fake_export)
        yield


def write_table(grid, folder) -> None:
    """In place of `write_report`, whose figures take most of the time."""
    (folder.path / "table.md").write_text(table(grid), encoding="utf-8")


def events_of(folder: Path, cache: Path, config: dict | None = None, **options):
    """The events of a search; `config` are changes of its settings."""
    options = {"learning_rates": RATES, "steps": STEPS, "counts": COUNTS} | options
    settings = new_config(folder, num_class_images=2, batch_size=1, **config or {})
    return search(settings, PICTURES, cache=cache, **options)


def start(folder: Path, cache: Path, *, kill_after: int = 0, **options) -> subprocess.Popen:
    """The same with the real trainer, in a process of its own."""
    options["config"] = {"model": str(model_folder())}  # each process would make another one
    arguments = [str(folder), str(cache), str(kill_after), json.dumps(options)]
    command = [sys.executable, "-m", "tests.dreambooth.grid.grids", *arguments]
    root = Path(__file__).resolve().parents[3]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=root, **pipes)


def main(folder: str, cache: str, kill_after: str, options: str) -> None:
    with stand_ins():
        events = events_of(Path(folder), Path(cache), **json.loads(options))
        for number, event in enumerate(events, start=1):
            if isinstance(event, Training):
                print(event.learning_rate)
            if number == int(kill_after):
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
