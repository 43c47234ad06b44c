"""What the lessons import: check an answer, show a hint or the solution, list your progress."""

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
