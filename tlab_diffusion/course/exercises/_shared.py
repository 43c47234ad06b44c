"""What several exercises need: inputs on which mistakes show, and mistakes made in many places.

Some batches are cubes (B = C = H = W): there a missing reshape goes unnoticed by torch, which is
when it does its harm. The others have different sides, a batch of one, the first and the last
timestep. Numbers are float32, as in the lessons. Timesteps differ from sample to sample, and betas
are far larger than in use, so that wrong answers lie far from the right one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from tlab_diffusion.course.answer_check import agrees
from tlab_diffusion.course.exercise import Property
from tlab_diffusion.diffusion import schedules

STEPS = 12
LAST = STEPS - 1
# The cubes come first: a slip to t + 1 still finds a value there, and is named.
CUBES = ((4, 4, 4, 4), (3, 3, 3, 3))
OBLONG = (3, 2, 4, 5)
PICTURES = (*CUBES, OBLONG, (1, 3, 2, 4))
# The shape of a batch, and the timesteps with which it begins.
BATCHES = (
    *((shape, ()) for shape in CUBES),
    (OBLONG, (0, LAST)),
    ((2, 3, 5, 2), (LAST, 0)),
    ((1, 3, 2, 4), (LAST,)),
    ((1, 2, 4, 3), (0,)),
)


def randn(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(shape, generator=generator)


def rand(generator: torch.Generator, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform numbers from low to high."""
    return low + (high - low) * torch.rand(shape, generator=generator)


def randint(generator: torch.Generator, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """A Python number from low to high."""
    return rand(generator, low=low, high=high).item()


def random_betas(generator: torch.Generator, steps: int = STEPS) -> Tensor:
    """A schedule without a pattern, betas from 0.03 to 0.3."""
    return rand(generator, steps, low=0.03, high=0.3)


def random_alphas_cumprod(generator: torch.Generator) -> Tensor:
    """A schedule without a pattern, as alpha_bar."""
    return schedules.alphas_cumprod(random_betas(generator))


def timesteps_of(generator: torch.Generator, batch: int, first: tuple = ()) -> Tensor:
    """Timesteps that differ: those given, then others that are not the last."""
    others = [t for t in torch.randperm(LAST, generator=generator).tolist() if t not in first]
    return torch.tensor([*first, *others][:batch])


def off_by_one(form: Callable, position: int = 1) -> tuple[Callable, ...]:
    """Forms of an answer that reads the schedule one step early or late."""

    def shifted(by: int) -> Callable:
        def wrong(*arguments):
            arguments = list(arguments)
            arguments[position] = (arguments[position] + by) % STEPS
            return form(*arguments)

        return wrong

    return shifted(-1), shifted(1)


def same_t(form: Callable, position: int = 1) -> Callable:
    """An answer that uses the first sample's timestep for the whole batch."""

    def wrong(*arguments):
        arguments = list(arguments)
        arguments[position] = arguments[position][:1].expand_as(arguments[position])
        return form(*arguments)

    return wrong


def misaligned(values: Tensor, trailing: int) -> Tensor:
    """(B,) values with too few axes behind them: torch lines them up with the wrong axis."""
    return values.reshape(-1, *[1] * trailing)


T_BROADCAST = (
    "Each sample must be scaled by its own value of the schedule, but yours are lined up with "
    "another axis: torch matches shapes from the right, so (B,) times (B, C, H, W) scales the "
    "columns of every picture. On most batches this is an error, on a square one it passes in "
    "silence. Reshape the values to (B, 1, 1, 1) before you multiply: "
    "`values.reshape(-1, *[1] * (x.ndim - 1))`."
)


def serves_points(right: Callable, arguments: Callable) -> Property:
    """The answer also serves samples that are no pictures.

    Args:
        right: the reference.
        arguments: `arguments(generator, shape)`, a tuple for `right`.
    """

    def remark(answer: Callable, generator: torch.Generator) -> str | None:
        points = arguments(generator, (5, 2))
        try:
            got = answer(*points)
        except Exception:  # whatever it is, it does not serve points
            got = None
        if agrees(got, right(*points)):
            return None
        return (
            "It serves pictures (B, C, H, W), but not points (B, 2), which the course uses too. "
            "`values.reshape(-1, *[1] * (x.ndim - 1))` serves any shape."
        )

    return remark


def faulty_line(snippet: int, line: int, otherwise: str) -> Callable:
    """A property of find-the-bug answers: the number of a snippet's faulty line, or a nudge."""

    def found(answer: Callable, generator: torch.Generator) -> str | None:
        return None if answer(snippet) == line else otherwise

    return found
