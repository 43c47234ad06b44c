"""A grid search in the terminal: the preflight report, a progress bar, the results."""

from collections.abc import Iterator
from contextlib import closing

from tqdm.auto import tqdm

from tlab_diffusion.dreambooth.grid.report import table
from tlab_diffusion.dreambooth.grid.result import Grid, Trial, format_rate
from tlab_diffusion.dreambooth.grid.search import Complete
from tlab_diffusion.dreambooth.grid.store import GridStore
from tlab_diffusion.dreambooth.grid.worker import Measured, Training
from tlab_diffusion.dreambooth.preflight.checks import Preflight
from tlab_diffusion.dreambooth.report.console import Bar
from tlab_diffusion.dreambooth.training.trainer import Event, PriorImages, TrainStep


def show_grid(found: Preflight, events: Iterator[Event | Training | Measured | Complete]) -> None:
    r"""Run a search to its end and show its progress.

    Args:
        found: the preflight report.
        events: of `search`, which was called before, so that the grid is in its folder.
    """
    grid = GridStore(found.config.output).read()
    trainings, last = len(grid.learning_rates), grid.steps[-1]
    print(found)
    print(f"grid: {len(grid.points)} trials by {trainings} trainings of {last} steps", flush=True)
    drawing = Bar("class pictures", "picture", found.config.num_class_images)
    bar = Bar("grid", "step", trainings * last)
    with closing(drawing), closing(bar):  # a message is on its own line
        bar.move(_steps(grid), _progress(grid))
        for event in events:
            if isinstance(event, Training):
                rate = event.learning_rate
            elif isinstance(event, PriorImages):
                drawing.move(event.done)
            elif isinstance(event, TrainStep):
                drawing.close()
                words = f"{_progress(grid)}, learning rate {format_rate(rate)}"
                bar.move(_steps(grid, but=rate) + event.step, words)
            elif isinstance(event, Measured):
                grid = event.grid
                tqdm.write(line_of(event.trial))
                bar.move(_steps(grid), _progress(grid))
            elif isinstance(event, Complete):
                bar.close()
                print(f"\n{table(event.grid)}\n\n{event.folder}")


def line_of(trial: Trial) -> str:
    """A trial as one line."""
    rate = format_rate(trial.point.learning_rate)
    return f"{rate}, {trial.point.steps} steps: score {trial.score:.2f} of {trial.qualities}"


def _progress(grid: Grid) -> str:
    return f"{len(grid.points) - len(grid.missing)} of {len(grid.points)} trials"


def _steps(grid: Grid, but: float | None = None) -> int:
    """The steps that all trainings have taken, without the one at the rate `but`."""
    known = [p for p in grid.points if p not in grid.missing and p.learning_rate != but]
    return sum({point.learning_rate: point.steps for point in known}.values())
