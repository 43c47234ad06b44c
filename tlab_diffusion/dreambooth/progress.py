"""A run in the terminal: what was found before it, and bars with rate and estimate."""

import itertools
from collections.abc import Iterator

from accelerate import PartialState
from tqdm.auto import tqdm

from tlab_diffusion.dreambooth.preflight import Preflight
from tlab_diffusion.dreambooth.trainer import Event, Finished, PriorImages, TrainStep


def show(found: Preflight, events: Iterator[Event]) -> None:
    r"""Go through a run to its end, and show how far it is; the first process speaks for all.

    Args:
        found: before the run.
        events: of the run.
    """
    main = PartialState().is_main_process
    if main:
        print(found, flush=True)
    for kind, same in itertools.groupby(events, type):
        if kind is PriorImages:
            _bar(same, "class pictures", "picture", found.config.num_class_images, hidden=not main)
        elif kind is TrainStep:
            _bar(same, "training", "step", found.config.max_steps, hidden=not main)
        elif kind is Finished and main:
            print(next(same).folder)


def _bar(events: Iterator[Event], name: str, unit: str, total: int, *, hidden: bool) -> None:
    """A bar from where the first event stands: what was done before is not in the rate."""
    bar = None
    for event in events:
        done = event.step if isinstance(event, TrainStep) else event.done
        if bar is None:
            bar = tqdm(desc=name, unit=unit, total=total, initial=done, disable=hidden)
        if isinstance(event, TrainStep):
            losses = f"{event.subject_loss:.3f} + {event.prior_loss:.3f}"
            bar.set_postfix_str(f"loss {losses}", refresh=False)
        bar.update(done - bar.n)
    bar.close()
