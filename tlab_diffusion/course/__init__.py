"""The course's own tools: check an answer, ask for a hint or the solution, see your progress."""

from tlab_diffusion.course.catalogue import (
    exercises,
    hint,
    progress,
    reference,
    snippets,
    solution,
)
from tlab_diffusion.course.grading import Result, check

__all__ = [
    "Result",
    "check",
    "exercises",
    "hint",
    "progress",
    "reference",
    "snippets",
    "solution",
]
