"""All exercises of the course, one module a lesson, in the order of the lessons.

Beware of the name: `tlab_diffusion.course.exercises` as an attribute is the function that lists
them. Import from this package as `from tlab_diffusion.course.exercises import ALL`.
"""

import difflib

from tlab_diffusion.course.exercise import Exercise
from tlab_diffusion.course.exercises import (
    dreambooth,
    grid,
    guidance,
    hands_on,
    latent,
    loss,
    metrics,
    noising,
    sampling,
    start,
    training,
)
from tlab_diffusion.errors import InputError

ALL: tuple[Exercise, ...] = (
    *start.EXERCISES,
    *noising.EXERCISES,
    *loss.EXERCISES,
    *training.EXERCISES,
    *sampling.EXERCISES,
    *guidance.EXERCISES,
    *latent.EXERCISES,
    *dreambooth.EXERCISES,
    *metrics.EXERCISES,
    *hands_on.EXERCISES,
    *grid.EXERCISES,
)
_BY_ID = {exercise.id: exercise for exercise in ALL}


def find(id: str) -> Exercise:
    """The exercise of that id.

    Raises:
        InputError: if there is none, naming the ids that come closest.
    """
    if not isinstance(id, str) or id not in _BY_ID:
        close = difflib.get_close_matches(str(id), _BY_ID, n=3, cutoff=0.4)
        raise InputError(
            "id",
            got=repr(id) if isinstance(id, str) else type(id).__name__,
            expected="the id of an exercise" + (f", such as {', '.join(close)}" if close else ""),
            fix="`exercises()` lists them all.",
        )
    return _BY_ID[id]
