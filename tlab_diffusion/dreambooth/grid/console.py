"""A grid search in the terminal: the preflight report, a progress bar, the results."""

from collections.abc import Callable, Iterator

from tlab_diffusion.dreambooth.grid.report import table
from tlab_diffusion.dreambooth.grid.result import Grid, Trial, format_rate
from tlab_diffusion.dreambooth.grid.search import Complete, steps_left
from tlab_diffusion.dreambooth.grid.store import GridStore
from tlab_diffusion.dreambooth.grid.worker import Measured, Training
from tlab_diffusion.dreambooth.preflight.checks import Preflight
from tlab_diffusion.dreambooth.report.progress import (
    CLASS_IMAGES,
    TRAINING,
    Phase,
    ProgressBar,
    phases_of,
)
from tlab_diffusion.dreambooth.training.trainer import Event, Loaded, PriorImages, TrainStep

TRIALS = "grid"
Events = Iterator[Event | Training | Measured | Complete]


def show_grid(found: Preflight, start: Callable[..., Events], *, workers: int = 1) -> None:
    r"""Run a search to its end and show its progress.

    Args:
        found: the preflight report.
        start: `start(progress=...)` begins the search, and writes the grid into its folder.
        workers: of the search. Of several, only their trials are heard of.
    """
    print(found)
    bar = None

    def progress(name: str, done: int, total: int) -> None:
        bar.move(name, done, total)

    events = start(progress=progress)
    store = GridStore(found.config.output)
    grid = store.read()
    trainings, last = len(grid.learning_rates), grid.steps[-1]
    print(f"grid: {len(grid.points)} trials by {trainings} trainings of {last} steps", flush=True)
    shown = _Trials(grid, found) if workers > 1 else _Trainings(grid, found, store)
    bar = shown.bar
    with bar:
        for event in events:
            if isinstance(event, Measured):
                bar.write(line_of(event.trial))
            shown.show(event)
    print(f"\n{table(event.grid)}\n\n{event.folder}")


class _Trials:
    """The bar of several workers."""

    def __init__(self, grid: Grid, found: Preflight):
        left, needs = len(grid.missing), found.estimate
        total, each = len(grid.points), needs.seconds / max(1, left) if needs else 0.0
        self.bar = ProgressBar({TRIALS: Phase("trial", total, total - left, each)})
        self.bar.move(TRIALS, total - left)

    def show(self, event: Measured | Complete) -> None:
        self.bar.move(TRIALS, len(event.grid.points) - len(event.grid.missing))


class _Trainings:
    """The bar of one worker."""

    def __init__(self, grid: Grid, found: Preflight, store: GridStore):
        config, left = found.config, steps_left(grid, store)
        self.last = {rate: last for rate, (_, last) in left.items()}
        self.reached = {rate: done for rate, (done, _) in left.items()}
        self.grid, self.rate = grid, None
        num = config.num_class_images if config.with_prior and grid.original is None else 0
        steps, done = sum(self.last.values()), sum(self.reached.values())
        self.bar = ProgressBar(phases_of(found.estimate, num, steps, done))

    def show(self, event: Event | Training | Measured | Complete) -> None:
        if isinstance(event, Training):
            self._leave()
            self.rate = event.learning_rate
        elif isinstance(event, Loaded):
            self.bar.move(CLASS_IMAGES, 0)
        elif isinstance(event, PriorImages):
            self.bar.move(CLASS_IMAGES, event.done)
        elif isinstance(event, TrainStep):
            self.bar.complete(CLASS_IMAGES)
            self.reached[self.rate] = event.step
            words = f", {_trials(self.grid)}, learning rate {format_rate(self.rate)}"
            self.bar.move(TRAINING, sum(self.reached.values()), words=words)
        elif isinstance(event, Measured):
            self.grid = event.grid

    def _leave(self) -> None:
        """Nothing is left of the training before, even where it diverged."""
        if self.rate is not None:
            self.reached[self.rate] = self.last[self.rate]


def line_of(trial: Trial) -> str:
    """A trial as one line."""
    rate = format_rate(trial.point.learning_rate)
    return f"{rate}, {trial.point.steps} steps: score {trial.score:.2f} of {trial.qualities}"


def _trials(grid: Grid) -> str:
    return f"{len(grid.points) - len(grid.missing)} of {len(grid.points)} trials"
