"""Files that are written whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    r"""Write a file beside its place, and move it there when it is complete.

    A kill at any time leaves the old file or the new one, never half of one.

    Args:
        path: the file; its folder is made if need be.

    Yields:
        A draft to write into.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    yield draft
    draft.replace(path)
