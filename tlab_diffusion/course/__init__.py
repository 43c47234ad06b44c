"""What the lessons import: check an answer, show a hint or the solution, list your progress, and
watch a training."""

from tlab_diffusion.course.catalogue import (
    exercises,
    hint,
    progress,
    reference,
    snippets,
    solution,
)
from tlab_diffusion.course.grading import Result, check
from tlab_diffusion.course.live_view import watch

__all__ = [
    "Result",
    "check",
    "exercises",
    "hint",
    "progress",
    "reference",
    "snippets",
    "solution",
    "watch",
]
