"""The learner's journal: one line of JSON for each check, appended and never rewritten.

It survives a kill at any time and several notebooks at once: a record is one write to a file
opened for appending. Each record begins on a fresh line, so a line torn by a full disk or a
kill spoils no other.
"""

import functools
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

RESET = "reset"  # an outcome: what came before it does not count


@dataclass(frozen=True)
class Standing:
    """How an exercise stands: whether it ever passed, and the outcome of the last try."""

    passed: bool
    last: str


def path() -> Path:
    """The journal's file: TLAB_PROGRESS, else progress.jsonl in the current folder."""
    return Path(os.environ.get("TLAB_PROGRESS") or "progress.jsonl")


def record(id: str, outcome: str, misconception: str | None) -> None:
    """Append the outcome of a check to the journal; if that fails, warn once and continue."""
    if outcome == "not_attempted":
        return
    entry = json.dumps({"exercise": id, "outcome": outcome, "misconception": misconception})
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    try:
        file = os.open(path(), flags, 0o644)
        try:
            os.write(file, f"\n{entry}\n".encode())
        finally:
            os.close(file)
    except OSError as error:
        _warn(f"Progress is not being saved: {path()}: {error.strerror}. Checks still work.")


def forget(id: str) -> None:
    """Note that the tries of an exercise so far do not count."""
    record(id, RESET, None)


def read() -> dict[str, Standing]:
    """How each exercise stands that was tried, the latest one last.

    Damaged lines are left out, with a warning unless it is the last one, which may still be
    being written.
    """
    try:
        lines = _last_places(path())
    except FileNotFoundError:
        return {}
    except OSError as error:
        _warn(f"Progress cannot be read: {path()}: {error.strerror}.")
        return {}
    standing, damaged = {}, 0
    for line in sorted(lines, key=lines.get):
        try:
            entry = json.loads(line)
            id, outcome = str(entry["exercise"]), str(entry["outcome"])
        except (ValueError, TypeError, KeyError, RecursionError):
            damaged += line.endswith(b"\n")
            continue
        before = standing.pop(id, None)
        if outcome != RESET:
            passed = outcome == "passed" or (before is not None and before.passed)
            standing[id] = Standing(passed, outcome)
    if damaged:
        _warn(f"{path()} has {damaged} damaged lines; they were left out.")
    return standing


def _last_places(file: Path) -> dict[bytes, int]:
    """Each different line, with the place where it stands last.

    A long journal says the same again and again, so that few of its lines have to be parsed.
    """
    with file.open("rb") as lines:
        places = {line: place for place, line in enumerate(lines)}
    places.pop(b"\n", None)
    return places


@functools.cache
def _warn(message: str) -> None:
    """Warn, once for each message."""
    warnings.warn(message, stacklevel=4)
