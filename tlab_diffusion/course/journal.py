"""The learner's journal: one line of JSON for each check, appended and never rewritten.

It survives a kill at any time and several notebooks at once: a record is one write to a file
opened for appending. Each record begins on a fresh line, so a line torn by a full disk or a
kill spoils no other.
"""

import functools
import json
import os
import warnings
from pathlib import Path


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


def read() -> dict[str, str]:
    """The state of each exercise that was tried: "passed" once it ever passed, else the
    latest outcome. Damaged lines are left out, with a warning unless it is the last one."""
    try:
        lines = path().read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        _warn(f"Progress cannot be read: {path()}: {error.strerror}.")
        return {}
    standing, damaged = {}, 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            id, outcome = str(entry["exercise"]), str(entry["outcome"])
        except (ValueError, TypeError, KeyError, RecursionError):
            damaged += number < len(lines)  # a torn last line is still being written
            continue
        if standing.get(id) != "passed":
            standing[id] = outcome
    if damaged:
        _warn(f"{path()} has {damaged} damaged lines; they were left out.")
    return standing


@functools.cache
def _warn(message: str) -> None:
    """Warn, once for each message."""
    warnings.warn(message, stacklevel=4)
