"""A run in the terminal: what was found before it, and bars with rate and estimate."""

from collections.abc import Iterator
from contextlib import closing

from accelerate import PartialState
from tqdm.auto import tqdm

from tlab_diffusion.dreambooth.preflight.checks import Preflight
from tlab_diffusion.dreambooth.run import Evaluated
from tlab_diffusion.dreambooth.training.trainer import Event, Finished, PriorImages, TrainStep
from tlab_diffusion.evaluation.result import Metrics

# Of all that is measured, what fits into a line.
NAMES = {
    "identity": "identity",
    "dino": "DINO",
    "prompt_accuracy": "prompt accuracy",
    "clip_t": "CLIP-T",
    "pres": "PRES",
    "class_div": "class DIV",
}


def show(found: Preflight, events: Iterator[Event | Evaluated]) -> None:
    r"""Go through a run to its end, and show how far it is; the first process speaks for all.

    Args:
        found: before the run.
        events: of the run.
    """
    main = PartialState().is_main_process
    if not main:
        for _ in events:
            pass
        return
    print(found, flush=True)
    drawing = Bar("class pictures", "picture", found.config.num_class_images)
    training = Bar("training", "step", found.config.max_steps)
    with closing(drawing), closing(training):  # what goes wrong is said on a line of its own
        for event in events:
            if isinstance(event, PriorImages):
                drawing.move(event.done)
            elif isinstance(event, TrainStep):
                drawing.close()
                training.move(event.step, f"loss {event.subject_loss:.3f} + {event.prior_loss:.3f}")
            elif isinstance(event, Evaluated):
                tqdm.write(line_of(event.step, event.metrics))
            elif isinstance(event, Finished):
                training.close()
                print(event.folder)


def line_of(step: int, metrics: Metrics) -> str:
    """What was measured, in one line."""
    numbers = metrics.numbers()
    values = [f"{words} {numbers[name]:.2f}" for name, words in NAMES.items() if name in numbers]
    return f"{'the original' if step == 0 else f'step {step}'}: {', '.join(values)}"


class Bar:
    """A bar that starts with the first news: what was done before is not in the rate."""

    def __init__(self, name: str, unit: str, total: int):
        self.name, self.unit, self.total, self.bar = name, unit, total, None

    def move(self, done: int, words: str = "") -> None:
        if self.bar is None:
            # The mean rate: evaluation and checkpoints come in between.
            options = {"unit": self.unit, "total": self.total, "smoothing": 0}
            self.bar = tqdm(desc=self.name, initial=done, **options)
        self.bar.set_postfix_str(words, refresh=False)
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
