"""A small made-up grid: its numbers are chosen so that every question has one answer."""

import json
from pathlib import Path

import numpy as np

from tlab_diffusion.course.stored import StoredGrid
from tlab_diffusion.dreambooth.grid.result import Grid, GridPoint, new_trial, pictures_file
from tlab_diffusion.dreambooth.report.contact_sheet import save_strip
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.evaluation.statistics import Interval

PROMPTS = ["a zwx robot on the moon", "a zwx robot in the snow", "a robot"]
RATES, STEPS = [1e-4, 3e-4], [100, 400, 1000]
# identity, prompt accuracy and class_div by learning rate and steps; the base has 0, 0.9, 0.8.
NUMBERS = {
    (1e-4, 100): (0.1, 0.9, 0.8),
    (1e-4, 400): (0.4, 0.9, 0.8),
    (1e-4, 1000): (0.7, 0.8, 0.6),
    (3e-4, 100): (0.3, 0.9, 0.7),
    (3e-4, 400): (0.8, 0.8, 0.6),
    (3e-4, 1000): (0.9, 0.4, 0.2),
}
BEST = (3e-4, 400)


def metrics(identity: float, accuracy: float, class_div: float) -> Metrics:
    samples = {
        "dino": identity,
        "clip_t": 0.5,
        "identity": identity,
        "prompt_accuracy": accuracy,
    }
    of_class = {"pres": 0.1, "class_div": class_div}
    samples, of_class = (
        {name: Interval(value, value, value) for name, value in row.items()}
        for row in (samples, of_class)
    )
    return Metrics("pip", {"prompts": 3}, samples, {}, of_class, {})


ORIGINAL = metrics(0.0, 0.9, 0.8)


def pictures(number: int) -> np.ndarray:
    """Those of a cell: (N, 16, 16, 3)."""
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (len(PROMPTS), 16, 16, 3), dtype=np.uint8)


SETTINGS = {
    "identifier": "zwx",
    "class_noun": "robot",
    "prompts": PROMPTS,
    "counts": {"per_prompt": 4, "per_class": 50},
    "encoders": "we",
}


def new_grid(numbers=NUMBERS, rates=RATES, steps=STEPS, failed=None) -> Grid:
    """A grid with these numbers, as its folder keeps it."""
    places = [GridPoint(*place) for place in numbers]
    cells = {place: new_trial(place, metrics(*numbers[place]), ORIGINAL) for place in places}
    return Grid(SETTINGS, tuple(rates), tuple(steps), ORIGINAL, cells, failed or {})


def stored(without: tuple = (), failed: dict | None = None) -> StoredGrid:
    """All cells and what they drew, but for one that is still to come."""
    numbers = {place: each for place, each in NUMBERS.items() if place != without}
    grid = new_grid(numbers, failed=failed)
    drawn = {each: pictures(each.steps + round(1e4 * each.learning_rate)) for each in grid.trials}
    return StoredGrid(grid, drawn, pictures(0))


def write_grid(folder: Path) -> Path:
    """The folder that `tlab grid` would have filled."""
    made = stored()
    for place, drawn in made.pictures.items():
        save_strip(folder / pictures_file(place.name), drawn)
    save_strip(folder / pictures_file("original"), made.original)
    (folder / "grid.json").write_text(json.dumps(made.grid.as_dict()), encoding="utf-8")
    return folder
