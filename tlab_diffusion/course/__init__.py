"""What the lessons import.

Check an answer, show a hint or the solution, list your progress, and watch a training.
"""

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
from tlab_diffusion.course.live_view import watch

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
    "watch",
]
