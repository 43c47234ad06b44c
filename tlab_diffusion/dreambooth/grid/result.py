r"""A grid: its learning rates and step counts, and what was measured in each of its cells."""

from dataclasses import dataclass, field, replace
from itertools import product
from typing import NamedTuple

import numpy as np

from tlab_diffusion.dreambooth.config import current_names
from tlab_diffusion.dreambooth.measures.selection import Qualities, qualities
from tlab_diffusion.evaluation.result import Metrics

OLD_KEYS = {"measures": "metrics", "judges": "encoders"}  # as earlier versions wrote them
ORIGINAL = "original"  # the model's own name, among those of places


class Place(NamedTuple):
    """A cell's place on the grid."""

    learning_rate: float
    steps: int

    @property
    def name(self) -> str:
        """For files: "lr3e-04-step01000"."""
        return f"{row_name(self.learning_rate)}-step{self.steps:05}"


class Cell(NamedTuple):
    """What a training at this learning rate has become after so many steps."""

    place: Place
    metrics: Metrics
    qualities: Qualities

    @property
    def score(self) -> float:
        """Identity, prompt and prior in one: their harmonic mean."""
        return self.qualities.score

    def quality(self, name: str) -> float:
        """One of `QUALITIES`, or "score"."""
        return self.score if name == "score" else getattr(self.qualities, name)

    def rank(self, name: str = "score") -> tuple[float, ...]:
        """By one quality, or the score: the higher, the better; of equals what took least.

        Of equal scores the one with the higher sum of qualities is better, whatever it took.
        """
        first = (self.score, self.qualities.total) if name == "score" else (self.quality(name),)
        return *first, -self.place.steps, -self.place.learning_rate


def new_cell(place: Place, metrics: Metrics, original: Metrics) -> Cell:
    """A cell with its qualities beside the original model."""
    return Cell(place, metrics, qualities(metrics, original))


@dataclass(frozen=True)
class Grid:
    r"""Learning rate x steps, as far as it is known.

    Args:
        id: of this grid, wherever its folder lies.
        settings: what all cells have in common.
        learning_rates: R, rising.
        steps: C, rising.
        original: what was measured on the model itself.
        cells: by place.
        broken: where a training broke off, with the reason.
    """

    id: str
    settings: dict
    learning_rates: tuple[float, ...]
    steps: tuple[int, ...]
    original: Metrics | None = None
    cells: dict[Place, Cell] = field(default_factory=dict)
    broken: dict[Place, str] = field(default_factory=dict)

    @property
    def places(self) -> list[Place]:
        """All places, row by row."""
        return [Place(*place) for place in product(self.learning_rates, self.steps)]

    @property
    def missing(self) -> list[Place]:
        """The places that nobody has got to yet."""
        return [p for p in self.places if p not in self.cells and p not in self.broken]

    @property
    def best(self) -> Cell | None:
        """The cell with the highest score."""
        return max(self.cells.values(), key=Cell.rank, default=None)

    def with_cell(self, cell: Cell) -> "Grid":
        """The grid, one cell further."""
        return replace(self, cells=self.cells | {cell.place: cell})

    def table(self, name: str) -> np.ndarray:
        """One quality of all cells, or "score": (R, C), NaN where there is none."""
        values = np.full((len(self.learning_rates), len(self.steps)), np.nan)
        for (rate, steps), cell in self.cells.items():
            at = self.learning_rates.index(rate), self.steps.index(steps)
            values[at] = cell.quality(name)
        return values

    def as_dict(self) -> dict:
        """Ready for JSON."""
        return {
            "id": self.id,
            "settings": self.settings,
            "learning_rates": list(self.learning_rates),
            "steps": list(self.steps),
            "cells": [_cell_fields(self.cells[p]) for p in self.places if p in self.cells],
            "broken": [
                p._asdict() | {"why": self.broken[p]} for p in self.places if p in self.broken
            ],
            "best": None if self.best is None else self.best.place._asdict(),
            "original": None if self.original is None else self.original.as_dict(),
        }

    @classmethod
    def from_dict(cls, fields: dict) -> "Grid":
        """What `as_dict` gave."""
        fields = _with_new_keys(fields)
        original = fields["original"] and Metrics.from_dict(fields["original"])
        cells = [
            new_cell(_place(each), Metrics.from_dict(each["metrics"]), original)
            for each in fields["cells"]
        ]
        return cls(
            fields["id"],
            current_names(fields["settings"]),
            tuple(fields["learning_rates"]),
            tuple(fields["steps"]),
            original,
            {cell.place: cell for cell in cells},
            {_place(each): each["why"] for each in fields["broken"]},
        )


def pictures_file(name: str) -> str:
    """Where a grid's folder has what was drawn at a place, or by the `ORIGINAL` model."""
    return f"pictures/{name}.png"


def row_name(learning_rate: float) -> str:
    """A learning rate in a file's name: "lr3e-04"; others, other names."""
    return "lr" + np.format_float_scientific(learning_rate, trim="-")


def in_words(learning_rate: float) -> str:
    """A learning rate in few characters: "3e-4", and of an odd one three digits."""
    return np.format_float_scientific(learning_rate, precision=2, trim="-", exp_digits=1)


def _with_new_keys(fields: dict) -> dict:
    """A stored grid, also of an earlier version, with the keys of this one."""
    settings, cells = fields["settings"], fields["cells"]
    return fields | {
        "settings": {OLD_KEYS.get(key, key): value for key, value in settings.items()},
        "cells": [{OLD_KEYS.get(key, key): each[key] for key in each} for each in cells],
    }


def _cell_fields(cell: Cell) -> dict:
    return cell.place._asdict() | {
        "metrics": cell.metrics.as_dict(),
        "qualities": cell.qualities.by_name(),
        "pictures": pictures_file(cell.place.name),
    }


def _place(fields: dict) -> Place:
    return Place(fields["learning_rate"], fields["steps"])
