"""Files that are complete or absent, also after a power cut; and the folder of caches."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path
from safetensors import SafetensorError

from tlab_diffusion.errors import InputError

CACHE_VARIABLE = "TLAB_CACHE"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, or over a limit


def cache_folder() -> Path:
    r"""The folder of what several runs use: $TLAB_CACHE, or the user's cache folder."""
    return Path(os.environ.get(CACHE_VARIABLE) or user_cache_path("tlab_diffusion"))


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    r"""Write a file under another name, and rename it when it is complete and on the disk.

    A kill or a power cut at any time leaves the old file or the new one, never half of one. The
    file's permissions are those that the umask gives a new file.

    Args:
        path: the file; its folder is made if need be.

    Yields:
        The path to write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    mode = _mode_of_new_files(draft)
    try:
        yield draft
        draft.chmod(mode)  # safetensors creates files that only their owner can read
        durable_replace(draft, path)
    finally:
        if draft.exists():
            draft.unlink()


def durable_replace(source: Path, target: Path) -> None:
    r"""Rename a file or a folder so that it survives a power cut.

    Everything in it is synced before the rename, and the folder that holds its name after it. A
    folder at the target is removed first.
    """
    for path in [*(source.rglob("*") if source.is_dir() else ()), source]:
        sync(path)
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    r"""Wait until a file's content, or a folder's list of names, is on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def apply_umask(folder: Path) -> None:
    r"""Give all files of a folder the permissions of newly created files.

    safetensors creates files that only their owner can read.
    """
    probe = folder / ".mode.draft"
    mode = _mode_of_new_files(probe)
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def _mode_of_new_files(path: Path) -> int:
    """Create a file and return its permissions: the umask cannot be read without changing it."""
    if path.exists():
        path.unlink()
    path.touch()
    return path.stat().st_mode & 0o777


def nearest_folder(path: Path) -> Path:
    """The path itself if it exists, or the nearest parent that does."""
    path = path.absolute()
    return next(p for p in (path, *path.parents) if p.exists())


def check_writable(folder: Path, name: str) -> None:
    r"""Refuse a folder in which nothing can be written; it may not exist yet.

    Raises:
        InputError: a file is in the way, or permissions or a read-only disk forbid it.
    """
    nearest = nearest_folder(folder)
    if not nearest.is_dir():
        raise write_error(folder, name, NotADirectoryError(errno.ENOTDIR, f"{nearest} is a file"))
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise write_error(folder, name, PermissionError(errno.EACCES, f"{nearest} is read-only"))


def write_error(folder: Path, name: str, error: Exception) -> InputError:
    r"""The `InputError` for a folder that could not be written to."""
    number = getattr(error, "errno", None)
    if found := re.search(r"os error (\d+)", str(error)):  # as safetensors reports it
        number = int(found[1])
    got = f"a file in {folder} that could not be written ({error})"
    if number in FULL:
        expected, fix = "free space there", "Make room"
    else:
        expected, fix = "a folder that you can write to", "Choose another folder"
    if name == "cache":
        return InputError(name, got=got, expected=expected, fix=f"{fix}: {CACHE_VARIABLE}=FOLDER.")
    return InputError(name, got=got, expected=expected, fix=f"{fix}, then continue with --resume.")


@contextmanager
def as_input_error(folder: Path, name: str = "output") -> Iterator[None]:
    r"""Turn an error of writing into one line, with its cause.

    Args:
        folder: the folder that is written to.
        name: what its user calls it: "output" or "cache".

    Raises:
        InputError: in place of the system's error.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise write_error(folder, name, error) from error


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    r"""Keep other processes of this machine from making the same cached file at the same time.

    Args:
        path: the file.

    Raises:
        InputError: if it cannot be written.
    """
    with as_input_error(path.parent, "cache"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            yield
