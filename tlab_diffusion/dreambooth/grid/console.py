"""A grid in the terminal: what was found before it, a bar, and what came out."""

from collections.abc import Iterator
from contextlib import closing

from tqdm.auto import tqdm

from tlab_diffusion.dreambooth.grid.report import table
from tlab_diffusion.dreambooth.grid.result import Cell, Grid, in_words
from tlab_diffusion.dreambooth.grid.search import Complete
from tlab_diffusion.dreambooth.grid.store import GridFolder
from tlab_diffusion.dreambooth.grid.worker import Measured, Training
from tlab_diffusion.dreambooth.preflight.checks import Preflight
from tlab_diffusion.dreambooth.report.console import Bar
from tlab_diffusion.dreambooth.training.trainer import Event, PriorImages, TrainStep


def show_grid(found: Preflight, events: Iterator[Event | Training | Measured | Complete]) -> None:
    r"""Go through a search to its end, and show how far it is.

    Args:
        found: before the search.
        events: of the search, which has begun.
    """
    grid = GridFolder(found.config.output).read()
    trainings, last = len(grid.learning_rates), grid.steps[-1]
    print(found)
    print(f"grid: {len(grid.places)} cells by {trainings} trainings of {last} steps", flush=True)
    drawing = Bar("class pictures", "picture", found.config.num_class_images)
    bar = Bar("grid", "step", trainings * last)
    with closing(drawing), closing(bar):  # what goes wrong is said on a line of its own
        bar.move(_steps(grid), _cells(grid))
        for event in events:
            if isinstance(event, Training):
                rate = event.learning_rate
            elif isinstance(event, PriorImages):
                drawing.move(event.done)
            elif isinstance(event, TrainStep):
                drawing.close()
                words = f"{_cells(grid)}, learning rate {in_words(rate)}"
                bar.move(_steps(grid, but=rate) + event.step, words)
            elif isinstance(event, Measured):
                grid = event.grid
                tqdm.write(line_of(event.cell))
                bar.move(_steps(grid), _cells(grid))
            elif isinstance(event, Complete):
                bar.close()
                print(f"\n{table(event.grid)}\n\n{event.folder}")


def line_of(cell: Cell) -> str:
    """A cell in one line."""
    rate = in_words(cell.place.learning_rate)
    return f"{rate}, {cell.place.steps} steps: score {cell.score:.2f} of {cell.qualities}"


def _cells(grid: Grid) -> str:
    return f"{len(grid.places) - len(grid.missing)} of {len(grid.places)} cells"


def _steps(grid: Grid, but: float | None = None) -> int:
    """How far all trainings have come together, one maybe left out."""
    known = [p for p in grid.places if p not in grid.missing and p.learning_rate != but]
    return sum({place.learning_rate: place.steps for place in known}.values())
