r"""What a run saves for the user: `metrics.jsonl`, `samples/`, and the weights of its best step.

An interrupted run resumes from its newest checkpoint. What the log has of later steps is removed
first, so that nothing is there twice. Losses are written before the checkpoint of their step,
samples and metrics after it: a step that was measured is never taken back.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np

from tlab_diffusion.dreambooth.checkpoint import resume as checkpoint
from tlab_diffusion.dreambooth.checkpoint.export import INDEX, copy_pipeline, export_pipeline
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.measures.selection import Point, TradeOff, trade_off
from tlab_diffusion.dreambooth.report.contact_sheet import save_strip
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.files import atomic_write

REPORT = "report.html"  # written last: with it, the folder is complete
LINES_EVERY = 10  # steps
OLD_KEYS = {"measures": "metrics", "judges": "encoders"}  # as earlier versions wrote them


class RunLog:
    r"""The log of the run in a folder. Only one object may write at a time: it reads the file once.

    Args:
        folder: the run's output.

    Attributes:
        lines: of the file, in the order in which they were written.
    """

    def __init__(self, folder: Path):
        self.folder, self.file = folder, folder / "metrics.jsonl"
        self.lines = _read(self.file)
        self._losses: list[tuple[float, float]] = []  # since the last line

    def rewind(self, step: int) -> None:
        """Remove all that is later than a step, and a last line that is not whole."""
        self.lines = [line for line in self.lines if line["step"] <= step]
        if self.file.is_file():
            with atomic_write(self.file) as draft:
                draft.write_text("".join(map(_as_text, self.lines)), encoding="utf-8")
        for path in self.strips():
            if step_of(path) > step:
                path.unlink()

    def points(self) -> list[Point]:
        """All that was measured."""
        measured = [line for line in self.lines if "metrics" in line]
        return [Point(line["step"], Metrics.from_dict(line["metrics"])) for line in measured]

    def has_metrics(self, step: int) -> bool:
        """Whether a step was measured."""
        return any("metrics" in line and line["step"] == step for line in self.lines)

    @property
    def encoders(self) -> str | None:
        """The name of the encoders; None where no line has it, as in older runs."""
        return next((line["encoders"] for line in self.lines if "encoders" in line), None)

    def strips(self) -> list[Path]:
        """The files of `samples/`, step by step."""
        return sorted((self.folder / "samples").glob("step-*.png"))

    def add_losses(self, step: int, losses: tuple[float, float], rate: float, due: bool) -> None:
        r"""Note a step's losses; a line has the mean over those since the last one.

        Args:
            step: counted from 1.
            losses: the subject's and the prior's.
            rate: the learning rate.
            due: whether a line is, although it is not the tenth step.
        """
        self._losses.append(losses)
        if due or step % LINES_EVERY == 0:
            subject, prior = np.mean(self._losses, axis=0).tolist()
            self._add(
                {"step": step, "subject_loss": subject, "prior_loss": prior, "learning_rate": rate}
            )
            self._losses = []

    def has_strip(self, step: int) -> bool:
        """Whether what a model drew at a step is kept."""
        return self._strip(step).is_file()

    def add_strip(self, step: int, pictures: np.ndarray) -> None:
        r"""Keep what a model drew: pictures (N, H, W, 3) uint8, in one row."""
        save_strip(self._strip(step), pictures)

    def add_metrics(self, step: int, metrics: Metrics, encoders: str) -> None:
        """Note what was measured, and the name of the encoders."""
        self._add({"step": step, "encoders": encoders, "metrics": metrics.as_dict()})

    def keep(self, point: Point, encoders: str, pipeline, dtypes: dict) -> None:
        r"""Note what was measured. Keep the step's weights if none before was better.

        Args:
            point: the step and its metrics.
            encoders: their name.
            pipeline: with its weights.
            dtypes: see `export_pipeline`.
        """
        if best([*self.points(), point]) == point.step:
            export_pipeline(pipeline, self._best(point.step), dtypes)
        self.add_metrics(*point, encoders)
        self._drop_worse()

    def _drop_worse(self) -> None:
        step = best(self.points())
        for path in (self.folder / "best").glob("step-*"):
            if step_of(path) != step:
                shutil.rmtree(path)

    def trade_off(self) -> TradeOff | None:
        """The run's trade-off; None where nothing after step 0 was measured."""
        points = self.points()
        return None if best(points) is None else trade_off(points)

    def use_best(self) -> int | None:
        """Make the best step's weights the run's result; the step, or None where there is none."""
        self._drop_worse()
        step = best(self.points())
        if step is not None:
            copy_pipeline(self._best(step), self.folder)
        return step

    def _strip(self, step: int) -> Path:
        return self.folder / "samples" / f"step-{step:08}.png"

    def _best(self, step: int) -> Path:
        return self.folder / "best" / f"step-{step:08}"

    def _add(self, line: dict) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(_as_text(line))
            file.flush()
            os.fsync(file.fileno())  # before the checkpoint of its step
        self.lines.append(line)


def is_finished(config: DreamBoothConfig, evaluate_every: int | None) -> bool:
    r"""Whether the run in the output folder has nothing left to train, measure or write.

    Args:
        config: the settings with which the run is called again.
        evaluate_every: see `run`.
    """
    folder = config.output
    if checkpoint.steps_done(folder) != config.max_steps:
        return False
    measured, wanted = {point.step for point in RunLog(folder).points()}, {0, config.max_steps}
    # Without metrics the folder gets the last weights, with them those of the best step.
    complete = wanted <= measured if evaluate_every else not measured
    return complete and all((folder / name).is_file() for name in (REPORT, INDEX))


def best(points: list[Point]) -> int | None:
    """The best step, or None where the original or everything else is missing."""
    measured = {point.step for point in points}
    return trade_off(points).best if 0 in measured and len(measured) > 1 else None


def step_of(path: Path) -> int:
    """The step in the name of a strip, or of kept weights."""
    return int(path.stem.removeprefix("step-"))


def _as_text(line: dict) -> str:
    return json.dumps(line) + "\n"


def _read(file: Path) -> list[dict]:
    """The whole lines of a log; those after a line that a kill cut short do not count."""
    lines = []
    for text in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            fields = json.loads(text)
        except ValueError:
            break
        lines.append({OLD_KEYS.get(key, key): value for key, value in fields.items()})
    return lines
