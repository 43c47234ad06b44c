r"""The search of a grid, by one worker or by several at once.

    for event in search(config, pictures, learning_rates=[1e-4, 3e-4], steps=[200, 400]):
        if isinstance(event, Measured):
            print(event.trial.point, event.trial.score)

Workers share nothing but the grid's folder. Several calls may start them, also on several machines
that see the folder.
"""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing import Process, get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.grid.report import write_report
from tlab_diffusion.dreambooth.grid.result import Grid
from tlab_diffusion.dreambooth.grid.store import GridStore
from tlab_diffusion.dreambooth.grid.worker import Measured, Search, Training, Worker
from tlab_diffusion.dreambooth.preflight.checks import Preflight, Problems, Refused, preflight
from tlab_diffusion.dreambooth.preflight.resources import (
    BEST,
    CHECKPOINTS,
    Estimate,
    Work,
    gib,
    pictures_of,
    size_of,
)
from tlab_diffusion.dreambooth.run import Progress
from tlab_diffusion.dreambooth.training.trainer import Event
from tlab_diffusion.errors import InputError, check_integer, check_number
from tlab_diffusion.evaluation.measure import SampleCounts
from tlab_diffusion.files import cache_folder

NEWS_EVERY = 0.5  # seconds


class Complete(NamedTuple):
    """All trials are measured, and the report is in the folder."""

    grid: Grid
    folder: Path


def search(
    config: DreamBoothConfig,
    pictures: np.ndarray,
    *,
    learning_rates: Sequence[float],
    steps: Sequence[int],
    counts: SampleCounts | None = None,
    workers: int = 1,
    resume: bool = False,
    cache: Path | None = None,
    progress: Progress = lambda *_: None,
) -> Iterator[Event | Training | Measured | Complete]:
    r"""Train at every learning rate, and measure at every number of steps.

    Bad input is refused at the call, before a model is loaded.

    Args:
        config: the settings of all trainings; its learning rate and steps do not matter, and its
            output folder becomes the grid's.
        pictures: (N, R, R, 3) uint8, the subject's.
        learning_rates, steps: of the grid.
        counts: how many pictures measure a trial; when left out, as many as `evaluate` draws.
        workers: processes that share the work.
        resume: continue an earlier grid in the folder, which may become larger. Without one
            there, start.
        cache: folder of what other runs can use again; the user's cache folder when left out.
        progress: see `run`; of several workers nothing is heard.

    Returns:
        An iterator of events: a `Training` before those of the trainer, `Measured` for each trial,
        and `Complete`. Of several workers one hears only `Measured` and `Complete`.

    Raises:
        InputError: wrong values or folder. While iterating: a full disk, or all workers failed.
    """
    check_values(learning_rates, steps)
    check_integer("workers", workers)
    folder = GridStore(config.output)
    folder.check_free(resume=resume)
    plan = Search(
        config=config,
        pictures=pictures,
        learning_rates=tuple(sorted(learning_rates)),
        steps=tuple(sorted(steps)),
        counts=counts or SampleCounts(),
        cache=cache or cache_folder(),
    )
    folder.check_same(plan.settings, plan.learning_rates, plan.steps)
    folder.begin(plan.settings, plan.learning_rates, plan.steps)
    return _search(plan, workers, progress)


def _search(
    plan: Search, workers: int, progress: Progress
) -> Iterator[Event | Training | Measured | Complete]:
    yield from Worker(plan, progress).work() if workers == 1 else _side_by_side(plan, workers)
    grid = plan.store.read()
    write_report(grid, plan.store)
    yield Complete(grid, plan.store.path)


def preflight_grid(
    config: DreamBoothConfig,
    *,
    learning_rates: Sequence[float],
    steps: Sequence[int],
    counts: SampleCounts | None = None,
    workers: int = 1,
    resume: bool = False,
) -> Preflight:
    r"""Check everything that a grid needs, before a model is loaded or anything is written.

    The estimate covers all that is missing of the grid; its memory is that of one worker.

    Args: see `search`.

    Raises:
        Refused: an `InputError` with a line for everything that is wrong.
    """
    problems, folder = Problems(), GridStore(config.output)
    problems.collect(check_values, learning_rates, steps)
    problems.collect(check_integer, "workers", workers)
    problems.collect(lambda: folder.check_free(resume=resume))
    # The folder itself is checked above; a training has an empty folder inside it.
    one, work = replace(config, output=folder.path / "training"), None
    if not problems.list:
        one = replace(one, max_steps=max(steps))
        work = problems.collect(
            _work, folder, learning_rates, steps, counts or SampleCounts(), workers
        )
    found = problems.collect(preflight, one, work=work)
    if not problems.list:
        problems.collect(_check_memory, workers, found.estimate)
    if problems.list:
        raise Refused(problems.list)
    return replace(found, config=replace(found.config, output=config.output))


def _work(
    store: GridStore,
    learning_rates: Sequence[float],
    steps: Sequence[int],
    counts: SampleCounts,
    workers: int,
) -> Work:
    """What is missing of a grid."""
    grid = Grid({}, tuple(learning_rates), tuple(steps))
    if store.file.is_file():
        earlier = store.read()
        grid = replace(earlier, learning_rates=grid.learning_rates, steps=grid.steps)
    left = steps_left(grid, store)
    at_once = max(1, min(workers, len(left)))
    return Work(
        steps=sum(last - done for done, last in left.values()),
        pictures=(len(grid.missing) + (grid.original is None)) * pictures_of(counts),
        class_images=grid.original is None,
        checkpoints=CHECKPOINTS * at_once,
        folders=BEST,
        written=sum(map(size_of, (store.path / "best", store.path / "trainings"))),
        devices=max(1, min(at_once, len(_gpus()))),
    )


def steps_left(grid: Grid, store: GridStore) -> dict[float, tuple[int, int]]:
    """By learning rate: the steps that its training has taken, and its last one."""
    missing = {}
    for rate, steps in grid.missing:
        missing.setdefault(rate, []).append(steps)
    return {
        rate: (store.steps_done(rate, min(steps)), max(steps)) for rate, steps in missing.items()
    }


def check_values(learning_rates: Sequence[float], steps: Sequence[int]) -> None:
    r"""Refuse values that make no grid.

    Raises:
        InputError: a list is empty, has a value twice, or a value that is out of range.
    """
    for rate in learning_rates:
        check_number("learning_rates", rate, above=0)
    for count in steps:
        check_integer("steps", count)
    for name, values in (("learning_rates", learning_rates), ("steps", steps)):
        twice = [f"{each:g}" for each in values if list(values).count(each) > 1]
        if twice:
            raise InputError(name, got=f"{twice[0]} twice", expected="values that differ")
        if not len(values):
            raise InputError(name, got="none", expected="1 or more")


def _check_memory(workers: int, needs: Estimate | None) -> None:
    if needs is None:
        return
    at_once = math.ceil(workers / max(1, len(_gpus())))  # on one device
    if at_once > 1 and at_once * needs.memory > needs.free_memory:
        raise InputError(
            "workers",
            got=f"{workers}, which need {gib(at_once * needs.memory)}",
            expected=f"as many as fit into the {gib(needs.free_memory)} of memory that are free",
        )


def _side_by_side(plan: Search, workers: int) -> Iterator[Measured]:
    """Run several workers, each in its own process."""
    context, gpus = get_context("spawn"), _gpus() or [None]
    errors = context.SimpleQueue()
    threads = max(1, torch.get_num_threads() // workers)
    processes = [
        context.Process(
            target=_worker_process, args=(plan, threads, gpus[number % len(gpus)], errors)
        )
        for number in range(workers)
    ]
    for each in processes:
        each.start()
    try:
        yield from _news(plan.store, processes)
    finally:
        for each in processes:
            each.terminate()
            each.join()
    if plan.store.read().missing:
        raise _reason(errors)


def _worker_process(plan: Search, threads: int, gpu: str | None, errors: SimpleQueue) -> None:
    """The main function of a worker's process."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # no device has been used yet
    torch.set_num_threads(threads)
    try:
        for _ in Worker(plan).work():
            if not parent_process().is_alive():
                return
    except InputError as error:
        errors.put((error.name, {"got": error.got, "expected": error.expected, "fix": error.fix}))
    except KeyboardInterrupt:
        pass  # the first process reports it


def _news(folder: GridStore, processes: list[Process]) -> Iterator[Measured]:
    """Look for new trials in the folder while any worker lives."""
    known = set(folder.read().trials)
    while processes:
        wait([each.sentinel for each in processes], timeout=NEWS_EVERY)
        processes = [each for each in processes if each.is_alive()]
        grid = folder.read()
        yield from [
            Measured(trial, grid) for point, trial in grid.trials.items() if point not in known
        ]
        known = set(grid.trials)


def _reason(errors: SimpleQueue) -> InputError:
    """Why all workers ended before the grid was complete."""
    if not errors.empty():
        name, words = errors.get()
        return InputError(name, **words)
    return InputError(
        "workers",
        got="none: all of them ended early",
        expected="one or more until all trials are measured",
        fix="They were killed or lacked memory. Continue with --resume.",
    )


def _gpus() -> list[str]:
    """CUDA's names of the devices that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name for name in visible.split(",") if name]
    return names or [str(number) for number in range(torch.cuda.device_count())]
