"""What the lessons import: check an answer, show a hint or the solution, list your progress."""

from tlab_diffusion.course.catalogue import (
    exercises,
    progress,
    reference,
    reset,
    snippets,
    solution,
)
from tlab_diffusion.course.fresh import fresh_copy
from tlab_diffusion.course.grading import Result, check
from tlab_diffusion.course.hints import hint

__all__ = [
    "Result",
    "check",
    "exercises",
    "fresh_copy",
    "hint",
    "progress",
    "reference",
    "reset",
    "snippets",
    "solution",
]
