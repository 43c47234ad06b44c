"""A fresh copy of a lesson, from within a notebook."""

from tlab_diffusion import copies
from tlab_diffusion.course.feedback import Note


def fresh_copy(lesson: str) -> Note:
    """Put a fresh copy of a lesson into your folder, and keep the one that is there.

    Args:
        lesson: its number, such as "01".

    Raises:
        InputError: if there is no such lesson.
    """
    fresh, kept = copies.fresh_copy(copies.find_course(), lesson)
    said = f"A fresh copy lies in `{fresh}`."
    if kept:
        said += (
            f" Yours is kept as `{kept}`. Close the tab of the old one without saving, and open "
            "the fresh one."
        )
    return Note(said)
