r"""A grid: its learning rates and step counts, and what was measured in each of its trials."""

from dataclasses import dataclass, field, replace
from itertools import product
from typing import NamedTuple

import numpy as np

from tlab_diffusion.dreambooth.config import current_names
from tlab_diffusion.dreambooth.measures.selection import Qualities, qualities
from tlab_diffusion.evaluation.result import Metrics

ORIGINAL = "original"  # names the pictures of the model itself
# Keys of grids that earlier versions wrote, and their names here.
RENAMED = {"measures": "metrics", "judges": "encoders", "cells": "trials", "broken": "failed"}


class GridPoint(NamedTuple):
    """One learning rate and one number of steps."""

    learning_rate: float
    steps: int

    @property
    def name(self) -> str:
        """For files, such as "lr3e-04-step01000"."""
        return f"{row_name(self.learning_rate)}-step{self.steps:05}"


class Trial(NamedTuple):
    """What was measured at a point: a training at its learning rate, after its steps."""

    point: GridPoint
    metrics: Metrics
    qualities: Qualities

    @property
    def score(self) -> float:
        """The harmonic mean of the qualities."""
        return self.qualities.score

    def quality(self, name: str) -> float:
        """One of `QUALITIES`, or "score"."""
        return self.score if name == "score" else getattr(self.qualities, name)

    def rank(self, name: str = "score") -> tuple[float, ...]:
        """A key to sort by: a quality or the score, the best last.

        Equal scores are ordered by the sum of qualities, then equals by fewer steps.
        """
        first = (self.score, self.qualities.total) if name == "score" else (self.quality(name),)
        return *first, -self.point.steps, -self.point.learning_rate


def new_trial(point: GridPoint, metrics: Metrics, original: Metrics) -> Trial:
    """A trial with its qualities relative to the original model."""
    return Trial(point, metrics, qualities(metrics, original))


@dataclass(frozen=True)
class Grid:
    r"""Learning rate x steps, as far as it is measured.

    Args:
        settings: what all trials have in common.
        learning_rates: R, ascending.
        steps: C, ascending.
        original: measured on the model itself.
        trials: by point.
        failed: the points at which a training failed, with the reason.
    """

    settings: dict
    learning_rates: tuple[float, ...]
    steps: tuple[int, ...]
    original: Metrics | None = None
    trials: dict[GridPoint, Trial] = field(default_factory=dict)
    failed: dict[GridPoint, str] = field(default_factory=dict)

    @property
    def points(self) -> list[GridPoint]:
        """All points, row by row."""
        return [GridPoint(*point) for point in product(self.learning_rates, self.steps)]

    @property
    def missing(self) -> list[GridPoint]:
        """The points that are still to be measured."""
        return [p for p in self.points if p not in self.trials and p not in self.failed]

    @property
    def best(self) -> Trial | None:
        """The trial with the highest score."""
        return max(self.trials.values(), key=Trial.rank, default=None)

    def with_trial(self, trial: Trial) -> "Grid":
        """The grid with one more trial."""
        return replace(self, trials=self.trials | {trial.point: trial})

    def table(self, name: str) -> np.ndarray:
        """One quality of all trials, or "score": (R, C), NaN where there is none."""
        values = np.full((len(self.learning_rates), len(self.steps)), np.nan)
        for (rate, steps), trial in self.trials.items():
            at = self.learning_rates.index(rate), self.steps.index(steps)
            values[at] = trial.quality(name)
        return values

    def as_dict(self) -> dict:
        """Ready for JSON."""
        return {
            "settings": self.settings,
            "learning_rates": list(self.learning_rates),
            "steps": list(self.steps),
            "trials": [_trial_fields(self.trials[p]) for p in self.points if p in self.trials],
            "failed": [
                p._asdict() | {"why": self.failed[p]} for p in self.points if p in self.failed
            ],
            "best": None if self.best is None else self.best.point._asdict(),
            "original": None if self.original is None else self.original.as_dict(),
        }

    @classmethod
    def from_dict(cls, fields: dict) -> "Grid":
        """The grid of `as_dict`, also one that an earlier version wrote."""
        fields = _renamed(fields)
        original = fields["original"] and Metrics.from_dict(fields["original"])
        trials = [
            new_trial(_point(each), Metrics.from_dict(each["metrics"]), original)
            for each in map(_renamed, fields["trials"])
        ]
        return cls(
            current_names(_renamed(fields["settings"])),
            tuple(fields["learning_rates"]),
            tuple(fields["steps"]),
            original,
            {trial.point: trial for trial in trials},
            {_point(each): each["why"] for each in fields["failed"]},
        )


def pictures_file(name: str) -> str:
    """The file of the pictures of a point, or of the `ORIGINAL` model, in a grid's folder."""
    return f"pictures/{name}.png"


def row_name(learning_rate: float) -> str:
    """A learning rate as a file name, "lr3e-04"; different rates have different names."""
    return "lr" + np.format_float_scientific(learning_rate, trim="-")


def format_rate(learning_rate: float) -> str:
    """A learning rate in few characters, with at most three digits: "3e-4"."""
    return np.format_float_scientific(learning_rate, precision=2, trim="-", exp_digits=1)


def _renamed(fields: dict) -> dict:
    return {RENAMED.get(key, key): value for key, value in fields.items()}


def _trial_fields(trial: Trial) -> dict:
    return trial.point._asdict() | {
        "metrics": trial.metrics.as_dict(),
        "qualities": trial.qualities.by_name(),
        "pictures": pictures_file(trial.point.name),
    }


def _point(fields: dict) -> GridPoint:
    return GridPoint(fields["learning_rate"], fields["steps"])
