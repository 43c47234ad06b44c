r"""Trainings that take turns, each in a process of its own; their steps are timed.

A step lasts from one move of the optimizer to the next, so everything that a training does for it
counts: reading pictures, encoding, forward, backward, the move itself.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook


class Step(NamedTuple):
    """Seconds that a step took: of the processor, and on the clock."""

    processor: float
    clock: float


class Training:
    r"""A training that stands still unless it has the turn; leaving it ends it.

    Args:
        start: trains, and needs not return; a function that can be pickled.
        log: file for whatever it prints.
    """

    def __init__(self, start: Callable[[], None], log: Path):
        context = get_context("spawn")  # nothing of this process goes along
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_train, args=(start, other, log))
        self.process.start()
        other.close()

    def steps(self, num: int) -> list[Step]:
        """Give it the turn for some steps.

        Raises:
            RuntimeError: with what happened, if the training failed.
        """
        self.pipe.send(num)
        answer = self.pipe.recv()
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.close()
        self.process.join()


class _Clock:
    """Notes when the optimizer moves, and waits there when the turn is over."""

    def __init__(self, pipe: Connection):
        self.pipe, self.wanted, self.moves = pipe, 0, []

    def after_move(self, *_: object) -> None:
        self.moves.append(_now())
        if len(self.moves) <= self.wanted:
            return
        if self.wanted:
            steps = [
                Step(*(b - a for a, b in zip(*pair, strict=True))) for pair in pairwise(self.moves)
            ]
            self.pipe.send(steps)
        self.wanted = self.pipe.recv()
        self.moves = [_now()]


def _now() -> Step:
    return Step(time.process_time(), time.perf_counter())


@contextmanager
def printing_to(log: Path) -> Iterator[None]:
    """Whatever this process prints, libraries included, goes to a file for a while."""
    sys.stdout.flush()
    screen = {stream: os.dup(stream) for stream in (1, 2)}
    with log.open("w", encoding="utf-8") as file:
        for stream in screen:
            os.dup2(file.fileno(), stream)
        try:
            yield
        finally:
            sys.stdout.flush()
            for stream, kept in screen.items():
                os.dup2(kept, stream)
                os.close(kept)


def _train(start: Callable[[], None], pipe: Connection, log: Path) -> None:
    torch.set_num_threads(1)
    register_optimizer_step_post_hook(_Clock(pipe).after_move)
    with printing_to(log):
        try:
            start()
        except (EOFError, ConnectionError):
            pass  # the other side has seen enough
        except Exception:
            pipe.send(traceback.format_exc())
