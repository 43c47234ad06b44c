r"""The results browser of lesson 09: learning rate x steps, in numbers and in pictures."""

from collections.abc import Sequence
from pathlib import Path

import ipywidgets
import numpy as np

from tlab_diffusion.course.stored import Cell, Grid, load_grid
from tlab_diffusion.course.widgets.base import LivePicture
from tlab_diffusion.dreambooth.grid.record import in_words
from tlab_diffusion.dreambooth.trade_off import QUALITIES, Qualities
from tlab_diffusion.errors import InputError
from tlab_diffusion.plots.results_panels import ResultsPanels

TOGETHER = "together"  # the harmonic mean of the three
SHOWN = (TOGETHER, *QUALITIES)


class ResultsBrowser(LivePicture):
    """A grid, cell by cell; see `results_browser`."""

    wide = ("learning_rate", "steps")

    def __init__(self, grid: Grid, prompts: Sequence[str]):
        self._cells = {(cell.learning_rate, cell.steps): cell for cell in grid.cells}
        if not self._cells:
            raise InputError("grid", got="no cells", expected="1 or more that are measured")
        self._rates, self._steps = sorted(grid.learning_rates), sorted(grid.steps)
        self._prompts = _checked_prompts(prompts, grid.cells[0])
        self._values = {name: self._table(name) for name in SHOWN}
        title = "Learning rate x steps: what each cell of a grid measured and drew"
        super().__init__("results-browser", title, self._controls())

    def new_figure(self) -> ResultsPanels:
        return ResultsPanels(
            [in_words(rate) for rate in self._rates[::-1]],  # the highest on top
            [str(steps) for steps in self._steps],
            ("learning rate", "steps"),
            next(iter(self._cells.values())).pictures,
        )

    def draw(self, figure: ResultsPanels, settings: dict, changed: set[str]) -> str:
        for name in settings:
            self._check(name, settings[name])
        rate, steps = settings["learning_rate"], settings["steps"]
        name, chosen = settings["measure"], settings["prompt"]
        if "measure" in changed:
            values = self._values[name]
            figure.show_values(values, name, _place(np.nanargmax(values), values.shape))
        cell = self._cells.get((rate, steps))
        place = (self._rates[::-1].index(rate), self._steps.index(steps))
        pictures = self._blank() if cell is None else cell.pictures
        figure.show_cell(place, pictures, chosen, f"“{self._prompts[chosen]}”")
        start = f"Learning rate {in_words(rate)}, {steps} steps"
        if cell is None:
            return f"{start}: nothing was measured here."
        numbers = ", ".join(f"{each} {cell.qualities[each]:.2f}" for each in QUALITIES)
        score = self._values[TOGETHER][place]
        return f"{start}: {numbers}; {TOGETHER} {score:.2f}, {self._rank(name, place)}."

    def _rank(self, name: str, place: tuple[int, int]) -> str:
        """A cell's place among all cells, by one measure."""
        values = self._values[name]
        rank = 1 + int((values > values[place]).sum())
        by = "" if name == TOGETHER else f" by {name}"
        return f"number {rank} of {len(self._cells)} cells{by}"

    def _table(self, name: str) -> np.ndarray:
        """One quality of all cells, as the heat map shows them: (R, C), NaN where there is none."""
        values = np.full((len(self._rates), len(self._steps)), np.nan)
        for (rate, steps), cell in self._cells.items():
            place = (self._rates[::-1].index(rate), self._steps.index(steps))
            values[place] = _score(cell) if name == TOGETHER else cell.qualities[name]
        return values

    def _blank(self) -> np.ndarray:
        return np.full_like(next(iter(self._cells.values())).pictures, 255)

    def _controls(self) -> dict[str, ipywidgets.ValueWidget]:
        best = max(self._cells.values(), key=_score)
        rates = [(in_words(rate), rate) for rate in self._rates]
        prompts = [(text, number) for number, text in enumerate(self._prompts)]
        return {
            "prompt": ipywidgets.Dropdown(options=prompts, description="prompt"),
            "measure": ipywidgets.Dropdown(options=SHOWN, description="heat map"),
            "learning_rate": ipywidgets.SelectionSlider(
                options=rates, value=best.learning_rate, description="rate"
            ),
            "steps": ipywidgets.SelectionSlider(
                options=self._steps, value=best.steps, description="steps"
            ),
        }

    def _check(self, name: str, value: object) -> None:
        possible = {
            "prompt": range(len(self._prompts)),
            "measure": SHOWN,
            "learning_rate": self._rates,
            "steps": self._steps,
        }[name]
        if value not in possible:
            expected = "one of " + ", ".join(map(str, possible))
            raise InputError(name, got=repr(value), expected=expected)


def results_browser(
    grid: Grid | str | Path | None = None, prompts: Sequence[str] | None = None
) -> ResultsBrowser:
    r"""A widget: choose a learning rate, steps and a prompt, and see what came of them.

    Args:
        grid: a grid, or the folder of one; the stored grid of lesson 09 when left out.
        prompts: those of the pictures of every cell; as the grid's settings say when left out.

    Raises:
        InputError: no grid there, or not as many prompts as a cell has pictures.
    """
    if not isinstance(grid, Grid):
        grid = load_grid() if grid is None else load_grid(Path(grid))
    return ResultsBrowser(grid, grid.settings["prompts"] if prompts is None else prompts)


def _score(cell: Cell) -> float:
    return Qualities(cell.steps, *(cell.qualities[name] for name in QUALITIES)).score


def _place(flat: int, shape: tuple[int, int]) -> tuple[int, int]:
    return divmod(int(flat), shape[1])


def _checked_prompts(prompts: Sequence[str], cell: Cell) -> list[str]:
    if len(prompts) != len(cell.pictures):
        expected = f"{len(cell.pictures)}, one for each picture of a cell"
        raise InputError("prompts", got=str(len(prompts)), expected=expected)
    return list(prompts)
