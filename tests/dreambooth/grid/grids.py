"""Small grids: a real trainer on a tiny pipeline, or a fake one that takes no time.

As a script, a search in a process of its own, which kills itself after so many events.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.dreambooth.fake_trainer import fakes
from tests.dreambooth.standin import hashed_sample, pixel_encoders
from tests.dreambooth.tiny import PICTURES, model_folder, new_config
from tlab_diffusion.dreambooth.grid import search as grid_search
from tlab_diffusion.dreambooth.grid.report import table
from tlab_diffusion.dreambooth.grid.search import search
from tlab_diffusion.dreambooth.grid.worker import Training
from tlab_diffusion.dreambooth.measures import evaluator
from tlab_diffusion.evaluation import world
from tlab_diffusion.evaluation.measure import SampleCounts

RATES, STEPS = [1e-3, 1e-4], [2, 5, 3]
COUNTS = SampleCounts(per_prompt=1, per_class=8)


@contextmanager
def stand_ins(*, fake: bool = False):
    """In place of what takes time; `fake` replaces the trainer too."""
    with pytest.MonkeyPatch.context() as patch, fakes() if fake else nullcontext():
        if not fake:
            patch.setattr(evaluator, "fast_sampler", hashed_sample)
            patch.setattr(world, "suitable_encoders", pixel_encoders)
        patch.setattr(grid_search, "write_report", write_table)
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
