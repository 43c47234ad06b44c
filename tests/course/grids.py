"""A small made-up grid: its numbers are chosen so that every question has one answer."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tlab_diffusion.course.stored import Cell, Grid
from tlab_diffusion.dreambooth.intervals import Interval
from tlab_diffusion.dreambooth.measures import Measures
from tlab_diffusion.dreambooth.trade_off import QUALITIES, Point, trade_off

PROMPTS = ["a zwx robot on the moon", "a zwx robot in the snow", "a robot"]
RATES, STEPS = [1e-4, 3e-4], [100, 400, 1000]
# identity, obeyed, and class_div, by learning rate and steps; the original has 0, 0.9 and 0.8.
NUMBERS = {
    (1e-4, 100): (0.1, 0.9, 0.8),
    (1e-4, 400): (0.4, 0.9, 0.8),
    (1e-4, 1000): (0.7, 0.8, 0.6),
    (3e-4, 100): (0.3, 0.9, 0.7),
    (3e-4, 400): (0.8, 0.8, 0.6),
    (3e-4, 1000): (0.9, 0.4, 0.2),
}
BEST = (3e-4, 400)


def measures(identity: float, obeyed: float, class_div: float) -> Measures:
    samples = {"dino": identity, "clip_t": 0.5, "identity": identity, "obeyed": obeyed}
    of_class = {"pres": 0.1, "class_div": class_div}
    samples, of_class = (
        {name: Interval(value, value, value) for name, value in row.items()}
        for row in (samples, of_class)
    )
    return Measures("pip", {"prompts": 3}, samples, {}, of_class, {})


ORIGINAL = measures(0.0, 0.9, 0.8)


def pictures(number: int) -> np.ndarray:
    """Those of a cell: (N, 16, 16, 3)."""
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (len(PROMPTS), 16, 16, 3), dtype=np.uint8)


def cell(rate: float, steps: int) -> Cell:
    measured = measures(*NUMBERS[rate, steps])
    place = trade_off([Point(0, ORIGINAL), Point(steps, measured)]).curve[1]
    qualities = {name: getattr(place, name) for name in QUALITIES}
    return Cell(rate, steps, measured, qualities, pictures(steps + round(1e4 * rate)))


def grid(without: tuple = ()) -> Grid:
    """All cells, but for one that is still to come."""
    cells = [cell(*place) for place in NUMBERS if place != without]
    return Grid({"prompts": PROMPTS}, RATES, STEPS, cells, ORIGINAL)


def write_grid(folder: Path) -> Path:
    """The folder that `tlab grid` would have filled."""
    (folder / "pictures").mkdir(parents=True)
    made, cells = grid(), []
    for each in made.cells:
        name = f"pictures/lr{each.learning_rate:.0e}-step{each.steps:05}.png"
        Image.fromarray(np.concatenate(list(each.pictures), axis=1)).save(folder / name)
        fields = each._asdict() | {"measures": each.measures.as_dict(), "pictures": name}
        cells.append(fields)
    fields = made._asdict() | {"cells": cells, "original": made.original.as_dict()}
    (folder / "grid.json").write_text(json.dumps(fields), encoding="utf-8")
    return folder
