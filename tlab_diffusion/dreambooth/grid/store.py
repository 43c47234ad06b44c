r"""The folder of a grid, which all workers share, in one process or on several machines.

grid.json     the grid (see `result`), the only record; rewritten after each trial
pictures/     one row of pictures for each trial, and for the original model
best/         the pipeline of the best trial so far
trainings/    unfinished trainings with their checkpoints
locks/        one lock for grid.json, and one for each training. The system releases the locks of a
              process that died, so that another worker takes its training over.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from tlab_diffusion.dreambooth.checkpoint import resume as checkpoint
from tlab_diffusion.dreambooth.checkpoint.export import export_pipeline
from tlab_diffusion.dreambooth.checkpoint.run_record import RunRecord, read_run, write_run
from tlab_diffusion.dreambooth.config import ONCE_FIXED
from tlab_diffusion.dreambooth.grid.result import (
    ORIGINAL,
    Grid,
    GridPoint,
    Trial,
    pictures_file,
    row_name,
)
from tlab_diffusion.dreambooth.report.contact_sheet import save_strip
from tlab_diffusion.errors import InputError, refuse_change
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.files import atomic_write
from tlab_diffusion.pipelines.sampler_settings import SamplerSettings, write_sampler_settings

BEFORE = ("locks", "grid.draft")  # may be in the folder before grid.json
PARTS = "gradient_accumulation_steps"


class GridStore:
    r"""A grid on the disk.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path):
        self.path, self.file = path, path / "grid.json"

    def check_free(self, *, resume: bool) -> None:
        r"""Refuse a folder that holds something else; nothing is written.

        Args:
            resume: whether there may be an earlier grid.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError("output", got=f"the file {self.path}", expected="a folder, or none")
        if self.file.is_file():
            if not resume:
                raise InputError(
                    "output",
                    got=f"an earlier grid in {self.path}",
                    expected="none",
                    fix="Continue it with --resume, or choose another folder.",
                )
        elif self.path.is_dir() and any(path.name not in BEFORE for path in self.path.iterdir()):
            got = f"{self.path}, which holds other files"
            raise InputError("output", got=got, expected="an empty folder, or none yet")

    def check_same(self, settings: dict, rates: Sequence[float], steps: Sequence[int]) -> None:
        r"""Refuse to continue a grid with other settings, or to leave out some of its points.

        Raises:
            InputError: names the first difference.
        """
        if not self.file.is_file():
            return
        earlier = self.read()
        # The number of parts of a step depends on the memory that was free at the start.
        same = {name: value for name, value in settings.items() if name != PARTS}
        refuse_change(ONCE_FIXED | earlier.settings, same, f"the earlier grid in {self.path}")
        _refuse_less("learning_rates", earlier.learning_rates, rates)
        _refuse_less("steps", earlier.steps, steps)

    def begin(self, settings: dict, rates: Sequence[float], steps: Sequence[int]) -> Grid:
        """Start a grid, or extend the existing one; its settings stay as they are.

        Raises:
            InputError: see `check_same`; another process may have started a grid meanwhile.
        """
        with self.locked():
            self.check_same(settings, rates, steps)
            grid = self.read() if self.file.is_file() else Grid(settings, (), ())
            grid = replace(
                grid,
                learning_rates=tuple(sorted({*grid.learning_rates, *rates})),
                steps=tuple(sorted({*grid.steps, *steps})),
            )
            self._write(grid)
        return grid

    def read(self) -> Grid:
        """The grid as it is now."""
        try:
            return Grid.from_dict(json.loads(self.file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            got = f"{self.file}, which is damaged"
            raise InputError("output", got=got, expected="what an earlier grid wrote") from error

    def add_original(self, metrics: Metrics, strip: np.ndarray, common: dict) -> None:
        r"""Keep what was measured on the original model.

        Args:
            metrics, strip: of it; the strip is (N, H, W, 3) uint8.
            common: settings of all trials that are known once the model is loaded.
        """
        with self.locked():
            grid = self.read()
            if grid.original is None:
                save_strip(self.strip(ORIGINAL), strip)
                self._write(replace(grid, settings=grid.settings | common, original=metrics))

    def add(
        self,
        trial: Trial,
        strip: np.ndarray,
        pipeline,
        dtypes: dict,
        sampler: SamplerSettings,
    ) -> Grid:
        r"""Keep a trial, and its pipeline if it is the best so far.

        Args:
            trial: with its metrics.
            strip: (N, H, W, 3) uint8.
            pipeline, dtypes: see `export_pipeline`.
            sampler: the settings with which the trial was measured.

        Returns:
            The grid with the trial.
        """
        with self.locked():
            grid = self.read().with_trial(trial)
            # grid.json comes last: if a kill comes before, the trial is measured again.
            if grid.best == trial:
                self._export(trial, pipeline, dtypes, sampler)
            save_strip(self.strip(trial.point.name), strip)
            self._write(grid)
        return grid

    def _export(self, trial: Trial, pipeline, dtypes: dict, sampler: SamplerSettings) -> None:
        """Write `best/`, with the base and the sampler settings that `tlab evaluate` needs."""
        best, point = self.path / "best", trial.point
        export_pipeline(pipeline, best, dtypes)
        write_sampler_settings(best, sampler)
        record = read_run(self.training(point.learning_rate))
        if record is not None:
            settings = record.settings | {"output": best.name, "max_steps": point.steps}
            write_run(best, RunRecord(settings, record.fingerprint))

    def add_failed(self, points: Sequence[GridPoint], why: str) -> None:
        """Record that a training failed before it reached these points."""
        with self.locked():
            grid = self.read()
            self._write(replace(grid, failed=grid.failed | dict.fromkeys(points, why)))

    def strip(self, name: str) -> Path:
        """The file of a point's pictures, or of the `ORIGINAL` model's."""
        return self.path / pictures_file(name)

    def training(self, rate: float) -> Path:
        """The folder of an unfinished training."""
        return self.path / "trainings" / row_name(rate)

    def steps_done(self, rate: float, first: int) -> int:
        r"""Steps that an unfinished training has taken; 0 where it has to start again.

        Args:
            rate: its learning rate.
            first: the fewest steps of its missing points; a training past them is of no use.
        """
        done = checkpoint.steps_done(self.training(rate))
        return done if done <= first else 0

    def drop_training(self, rate: float) -> None:
        """Delete a training whose trials are all recorded."""
        shutil.rmtree(self.training(rate), ignore_errors=True)

    def drop_trainings(self) -> None:
        """Delete the folder of trainings, when the grid is complete."""
        shutil.rmtree(self.path / "trainings", ignore_errors=True)

    def locked(self) -> FileLock:
        """Keeps other workers from writing at the same time."""
        return self._lock("grid")

    @contextmanager
    def taken(self, rate: float) -> Iterator[bool]:
        """Take the training at a learning rate; False if another worker has it."""
        lock = self._lock(row_name(rate))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _lock(self, name: str) -> FileLock:
        path = self.path / "locks" / f"{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    def _write(self, grid: Grid) -> None:
        with atomic_write(self.file) as draft:
            draft.write_text(json.dumps(grid.as_dict(), indent=1) + "\n", encoding="utf-8")


def _refuse_less(name: str, earlier: Sequence, now: Sequence) -> None:
    if not set(earlier) <= set(now):
        before, got = (", ".join(f"{each:g}" for each in values) for values in (earlier, now))
        expected = f"those of the earlier grid, {before}, and more if you like"
        raise InputError(name, got=got, expected=expected)
