r"""The results browser of lesson 09: metrics and samples over learning rate and steps."""

from collections.abc import Sequence
from pathlib import Path

import ipywidgets
import numpy as np

from tlab_diffusion.course.stored import StoredGrid, load_grid
from tlab_diffusion.course.widgets.base import LivePicture
from tlab_diffusion.dreambooth.grid.result import GridPoint, format_rate
from tlab_diffusion.dreambooth.measures.selection import QUALITIES
from tlab_diffusion.errors import InputError
from tlab_diffusion.plots.results_panels import ResultsPanels

TOGETHER = "together"  # the harmonic mean of the three
SHOWN = {TOGETHER: "score"} | {name: name for name in QUALITIES}  # as a cell calls it


class ResultsBrowser(LivePicture):
    """A grid, cell by cell; see `results_browser`."""

    wide = ("learning_rate", "steps")
    timed = ("steps",)

    def __init__(self, stored: StoredGrid, prompts: Sequence[str]):
        self._grid, self._pictures = stored.grid, stored.pictures
        if not self._grid.trials:
            raise InputError("grid", got="no cells", expected="1 or more that are measured")
        self._nothing = np.full_like(stored.original, 255)
        self._prompts = _checked_prompts(prompts, len(stored.original))
        title = "Learning rate x steps: what each cell of a grid measured and drew"
        super().__init__("results-browser", title, self._controls())

    def new_figure(self) -> ResultsPanels:
        return ResultsPanels(
            [format_rate(rate) for rate in self._grid.learning_rates[::-1]],  # the highest on top
            [str(steps) for steps in self._grid.steps],
            ("learning rate", "steps"),
            self._nothing,
        )

    def draw(self, figure: ResultsPanels, settings: dict, changed: set[str]) -> str:
        for name in settings:
            self._check(name, settings[name])
        place = GridPoint(settings["learning_rate"], settings["steps"])
        name, chosen = settings["quality"], settings["prompt"]
        if "quality" in changed:
            highest = max(self._grid.trials.values(), key=lambda cell: cell.rank(SHOWN[name]))
            values = self._grid.table(SHOWN[name])[::-1]
            figure.show_values(values, name, self._on_the_map(highest.point))
        pictures = self._pictures.get(place, self._nothing)
        text = f"“{self._prompts[chosen]}”"
        figure.show_cell(self._on_the_map(place), pictures, chosen, text)
        start = f"Learning rate {format_rate(place.learning_rate)}, {place.steps} steps"
        return f"{start}: {self._in_words(place, name)}."

    def _in_words(self, place: GridPoint, name: str) -> str:
        """The qualities at a place, and its rank by the quality that the map shows."""
        cell = self._grid.trials.get(place)
        if cell is None:
            why = self._grid.failed.get(place)
            return "nothing was measured here" + (f"; the training broke off, {why}" if why else "")
        values = [each.quality(SHOWN[name]) for each in self._grid.trials.values()]
        rank = 1 + sum(value > cell.quality(SHOWN[name]) for value in values)
        by = "" if name == TOGETHER else f" by {name}"
        numbers = f"{cell.qualities}; {TOGETHER} {cell.score:.2f}"
        return f"{numbers}, number {rank} of {len(values)} cells{by}"

    def _on_the_map(self, place: GridPoint) -> tuple[int, int]:
        """Row and column, from the top and from the left."""
        rates, steps = self._grid.learning_rates[::-1], self._grid.steps
        return rates.index(place.learning_rate), steps.index(place.steps)

    def _controls(self) -> dict[str, ipywidgets.ValueWidget]:
        best = self._grid.best.point
        rates = [(format_rate(rate), rate) for rate in self._grid.learning_rates]
        prompts = [(text, number) for number, text in enumerate(self._prompts)]
        return {
            "prompt": ipywidgets.Dropdown(options=prompts, description="prompt"),
            "quality": ipywidgets.Dropdown(options=list(SHOWN), description="heat map"),
            "learning_rate": ipywidgets.SelectionSlider(
                options=rates, value=best.learning_rate, description="rate"
            ),
            "steps": ipywidgets.SelectionSlider(
                options=self._grid.steps, value=best.steps, description="steps"
            ),
        }

    def _check(self, name: str, value: object) -> None:
        possible = {
            "prompt": range(len(self._prompts)),
            "quality": SHOWN,
            "learning_rate": self._grid.learning_rates,
            "steps": self._grid.steps,
        }[name]
        if value not in possible:
            expected = "one of " + ", ".join(map(str, possible))
            raise InputError(name, got=repr(value), expected=expected)


def results_browser(
    grid: StoredGrid | str | Path | None = None, prompts: Sequence[str] | None = None
) -> ResultsBrowser:
    r"""A widget that shows the qualities and samples of each cell of a grid.

    Args:
        grid: from `load_grid`, or a grid's folder; the stored grid of lesson 09 when left out.
        prompts: of the samples of each cell; those of the grid's settings when left out.

    Raises:
        InputError: no grid there, or not as many prompts as a cell has pictures.
    """
    if not isinstance(grid, StoredGrid):
        grid = load_grid() if grid is None else load_grid(Path(grid))
    return ResultsBrowser(grid, grid.grid.settings["prompts"] if prompts is None else prompts)


def _checked_prompts(prompts: Sequence[str], num: int) -> list[str]:
    if len(prompts) != num:
        expected = f"{num}, one for each picture of a cell"
        raise InputError("prompts", got=str(len(prompts)), expected=expected)
    return list(prompts)
