"""Files that are written whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError

from tlab_diffusion.errors import InputError

GO_ON = "Make room and go on with --resume; the newest checkpoint is whole."


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
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


@contextmanager
def as_input_error(folder: Path, name: str = "output", fix: str = GO_ON) -> Iterator[None]:
    r"""Say in one line that something could not be written, as on a full disk.

    Args:
        folder: where it was to be written.
        name: of the folder, for who reads the line.
        fix: what to do.

    Raises:
        InputError: in place of the system's error.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        got = f"what could not be written ({error})"
        raise InputError(name, got=got, expected=f"room in {folder}", fix=fix) from error


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    r"""Keep other processes of this machine from making the same file at the same time.

    Args:
        path: the file, which takes long to compute and is kept for others.

    Raises:
        InputError: if it cannot be written.
    """
    with as_input_error(path.parent, "cache", "Make room there; what is kept already is whole."):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            yield
