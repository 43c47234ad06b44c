r"""The trade-off curve of lesson 08: qualities and samples of every measured step of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import ipywidgets
import numpy as np

from tlab_diffusion.course.stored import StoredGrid, load_grid
from tlab_diffusion.course.widgets.base import LivePicture
from tlab_diffusion.dreambooth.measures.selection import Point, trade_off, weaker_quality
from tlab_diffusion.dreambooth.report.contact_sheet import read_strip
from tlab_diffusion.errors import InputError
from tlab_diffusion.plots.trade_off_panels import TradeOffPanels

STORED_RATE = 3e-4
TOGETHER = "together"  # the harmonic mean of the three


class Samples(NamedTuple):
    """Samples at the measured steps, from the same prompts and noise."""

    prompts: Sequence[str]  # N, up to 4
    at: Mapping[int, np.ndarray]  # {step: (N, H, W, 3) uint8}


class TradeOffExplorer(LivePicture):
    """The trade-off curve of a run; see `trade_off_explorer`."""

    wide = ("step",)
    timed = ("step",)

    def __init__(self, points: Sequence[Point], samples: Samples | None = None):
        self._result = trade_off(points)
        self._samples = samples
        if samples is not None:
            _check(samples)
        slider = ipywidgets.SelectionSlider(
            options=list(self._result.curve), value=self._result.best, description="step"
        )
        title = "What a run gains and loses, step by step"
        super().__init__("trade-off-explorer", title, {"step": slider})

    def new_figure(self) -> TradeOffPanels:
        curves = self._result.curves(TOGETHER)
        prompts = self._samples.prompts if self._samples else ()
        best = self._result.best
        return TradeOffPanels(list(self._result.curve), curves, best, self._pictures(best), prompts)

    def draw(self, figure: TradeOffPanels, settings: dict, changed: set[str]) -> str:
        step = settings["step"]
        if step not in self._result.curve:
            expected = "one of " + ", ".join(map(str, self._result.curve))
            raise InputError("step", got=repr(step), expected=expected)
        figure.show(list(self._result.curve).index(step), self._pictures(step))
        here = self._result.curve[step]
        return (
            f"Step {step} of {max(self._result.curve)}: {here}; {TOGETHER} {here.score:.2f}.\n"
            f"{self._verdict(step)}"
        )

    def _pictures(self, step: int) -> np.ndarray | None:
        """The samples at a step; white where it has none; None where no step has any."""
        if self._samples is None:
            return None
        at = self._samples.at
        return at[step] if step in at else np.full_like(next(iter(at.values())), 255)

    def _verdict(self, step: int) -> str:
        here, best = self._result.curve[step], self._result.curve[self._result.best]
        if step == self._result.best:
            return self._result.why.replace(f": {best}", "")  # numbers that stand above it
        lacks = weaker_quality(here, best)
        known = "The original model: it has never met the subject. " if step == 0 else ""
        values = f"{getattr(here, lacks):.2f} here and {getattr(best, lacks):.2f} there"
        return f"{known}Step {self._result.best} has the better balance: {lacks} is {values}."


def trade_off_explorer(
    run: str | Path | Sequence[Point] | None = None,
    samples: Samples | None = None,
    prompts: Sequence[str] = (),
) -> TradeOffExplorer:
    r"""A widget with the qualities and samples of a run over its steps.

    Args:
        run: the run's folder, or the points of its curve, with step 0 among them; a stored run
            when left out.
        samples: pictures of the steps; a folder has its own.
        prompts: of the pictures in a folder.

    Raises:
        InputError: points without step 0 or a later one, or not as many prompts as pictures.
    """
    if run is None:
        return TradeOffExplorer(*one_row(load_grid(), STORED_RATE))
    if isinstance(run, str | Path):
        return TradeOffExplorer(*read_run(Path(run), prompts))
    return TradeOffExplorer(run, samples)


def read_run(folder: Path, prompts: Sequence[str] = ()) -> tuple[list[Point], Samples | None]:
    r"""Read the points and, if there are any, the samples of a run's folder."""
    from tlab_diffusion.dreambooth.report.log import RunLog, step_of

    log = RunLog(folder)
    at = {step_of(path): read_strip(path) for path in log.strips()}
    if not at:
        return log.points(), None
    number = len(next(iter(at.values())))
    return log.points(), Samples(prompts or number * [""], at)


def one_row(stored: StoredGrid, learning_rate: float) -> tuple[list[Point], Samples]:
    r"""One learning rate of a grid as a run: its points and its samples.

    Raises:
        InputError: a learning rate that the grid does not have.
    """
    grid = stored.grid
    row = [place for place in grid.trials if place.learning_rate == learning_rate]
    if not row:
        expected = "one of " + ", ".join(f"{rate:g}" for rate in grid.learning_rates)
        raise InputError("learning_rate", got=f"{learning_rate:g}", expected=expected)
    points = [Point(0, grid.original)]
    points += [Point(place.steps, grid.trials[place].metrics) for place in row]
    at = {0: stored.original} | {place.steps: stored.pictures[place] for place in row}
    return points, Samples(grid.settings["prompts"], at)


def _check(samples: Samples) -> None:
    for step, pictures in samples.at.items():
        if len(pictures) != len(samples.prompts):
            got = f"{len(samples.prompts)} for the {len(pictures)} pictures of step {step}"
            raise InputError("prompts", got=got, expected="one for each picture")
