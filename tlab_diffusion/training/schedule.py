r"""Learning-rate schedules."""

import math
from typing import Protocol


class Schedule(Protocol):
    """What every stage's configuration says about its steps."""

    steps: int
    learning_rate: float
    warm_up_steps: int


def learning_rate_at(step: int, schedule: Schedule) -> float:
    r"""A straight rise to the full rate, then half a cosine down to 0 (arXiv:1608.03983).

    Args:
        step: from 1 to `schedule.steps`.
        schedule: the stage's configuration.
    """
    rise = min(1.0, step / max(1, schedule.warm_up_steps))
    progress = max(0, step - schedule.warm_up_steps) / max(
        1, schedule.steps - schedule.warm_up_steps
    )
    return schedule.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * progress))
