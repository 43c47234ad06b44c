"""Run a learner's function so that nothing it does can stop or flood the notebook.

The function runs in a thread of its own, and the caller waits. A kernel interrupt reaches the
caller, an endless loop is ended from outside; both on every system, for no signal is used. What
is printed is kept apart, also what is written to the file descriptors 1 and 2. The module
`containment` puts back the settings of the process that the function changes.

What one process cannot contain:

- a single call into C that never lets other threads run (`9**9**9`, say), or that crashes: the
  kernel must then be restarted by hand;
- signals to the own process (`os.kill`), `os._exit` imported under another name before, and
  memory that runs out;
- files that are written or deleted, and threads and processes that are started and go on;
- what is shown by IPython's `display`, or written to a stream kept from before the check;
- a function that looks for the checker on purpose and changes it, or the libraries that it uses,
  underneath. For marks, answers belong in a process of their own.
"""

import contextlib
import contextvars
import ctypes
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LIMIT_S = 5.0  # how long an answer may take
MOST_UNCOUNTED_S = 120.0  # how long it may import modules and compile, which is not counted
PATIENCE_S = 1.0  # how long we try to end one that does not
STACK_BYTES = 16 << 20  # so that deep recursion ends in Python's own error, not in a crash
POLL_S = 0.05  # a wait in slices, so that an interrupt is noticed on Windows too
MOST_PRINTED = 2000  # characters kept of what an answer prints
# Files whose code runs while a module is imported or torch compiles.
PREPARING = ("<frozen importlib", "torch/_inductor/", "torch/_dynamo/convert_frame.py")


@dataclass(frozen=True)
class Call:
    """How a call went: a value, or an error, or no end.

    Args:
        value: what it returned.
        error: what it raised.
        ended: whether it ended by itself.
        stopped: False where the endless call could not even be stopped.
        printed: the beginning of what it wrote to stdout.
        warned: the beginning of what it wrote to stderr.
    """

    value: object = None
    error: BaseException | None = None
    ended: bool = True
    stopped: bool = True
    printed: str = ""
    warned: str = ""


def call(function: Callable, *args) -> Call:
    """Call `function(*args)` in a thread, for `LIMIT_S` seconds at most.

    Whatever it raises, SystemExit and KeyboardInterrupt included, is caught and returned.
    """
    outcome, done = {}, threading.Event()

    def work() -> None:
        try:
            outcome["value"] = function(*args)
        except BaseException as error:  # an answer may raise anything; nothing may escape
            outcome["error"] = error
        finally:
            done.set()

    # With the caller's context, the kernel sends what is printed to the caller's cell.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), daemon=True)
    with _kept_apart() as (printed, warned):
        try:
            _start(thread)
            ended = _wait(thread, done)
        finally:  # on a kernel interrupt too
            stopped = done.is_set() or _stop(thread)
    said = (printed.text(), warned.text())
    if not ended:
        return Call(None, None, False, stopped, *said)
    return Call(outcome.get("value"), outcome.get("error"), True, True, *said)


def _start(thread: threading.Thread) -> None:
    usual = threading.stack_size(STACK_BYTES)
    try:
        thread.start()
    finally:
        threading.stack_size(usual)


def _wait(thread: threading.Thread, done: threading.Event) -> bool:
    """Wait for the answer; False if it is still running after the limit.

    The time in which it imports modules or torch compiles is not counted, nor is the time in
    which the computer sleeps. Not by `thread.join`: interrupted, it takes the thread for dead
    (Python 3.11).
    """
    left, uncounted = LIMIT_S, MOST_UNCOUNTED_S
    while left > 0 and uncounted > 0:
        began = time.monotonic()
        if done.wait(min(POLL_S, left)):
            return True
        passed = min(time.monotonic() - began, 10 * POLL_S)
        if _prepares(thread):
            uncounted -= passed
        else:
            left -= passed
    return done.is_set()


def _prepares(thread: threading.Thread) -> bool:
    """Whether the thread is importing a module or compiling."""
    frame = sys._current_frames().get(thread.ident)
    while frame is not None:
        file = frame.f_code.co_filename.replace(os.sep, "/")
        if any(part in file for part in PREPARING):
            return True
        frame = frame.f_back
    return False


def _stop(thread: threading.Thread) -> bool:
    """Raise SystemExit in the thread until it ends; False if it does not end.

    Repeatedly, because a bare `except:` swallows those that arrive inside its `try`. A
    thread stuck outside Python is left behind; being a daemon, it ends with the kernel.
    """
    deadline = time.monotonic() + PATIENCE_S
    while thread.is_alive() and time.monotonic() < deadline:
        # SystemExit: threading prints no traceback when it is not caught.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
        )
        time.sleep(0.001)
    return not thread.is_alive()


class _Beginning(io.StringIO):
    """Keeps the beginning of what is printed: an endless loop may never stop printing."""

    def __init__(self):
        super().__init__()
        self.full = False

    def write(self, text: str) -> int:
        room = MOST_PRINTED - self.tell()
        self.full = self.full or len(text) > room
        super().write(text[: max(0, room)])
        return len(text)

    def text(self) -> str:
        more = "\n... The rest of what your function prints is left out.\n" if self.full else ""
        return self.getvalue() + more


@contextlib.contextmanager
def _kept_apart() -> Iterator[tuple[_Beginning, _Beginning]]:
    """Keep what is written to stdout and stderr, as Python's streams and as file descriptors."""
    printed, warned = _Beginning(), _Beginning()
    with (
        _descriptor(1, sys.__stdout__, printed),
        _descriptor(2, sys.__stderr__, warned),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(warned),
    ):
        yield printed, warned


@contextlib.contextmanager
def _descriptor(number: int, stream: io.TextIOBase | None, kept: _Beginning) -> Iterator[None]:
    """Lead a file descriptor into a pipe that refuses what it has no room for.

    So a flood costs neither time nor disk, and no second thread has to read. Python's own stream
    on the descriptor is emptied before and after.
    """
    try:
        usual = os.dup(number)
    except OSError:  # a process without streams
        yield
        return
    source, sink = os.pipe()
    for end in (source, sink):
        if hasattr(os, "set_blocking"):
            os.set_blocking(end, False)
    _flush(stream)
    os.dup2(sink, number)
    os.close(sink)
    try:
        yield
    finally:
        _flush(stream)
        os.dup2(usual, number)
        os.close(usual)
        with contextlib.suppress(BlockingIOError):
            kept.write(os.read(source, 1 << 16).decode(errors="replace"))
        os.close(source)


def _flush(stream: io.TextIOBase | None) -> None:
    with contextlib.suppress(OSError, ValueError):  # the pipe is full, or the stream closed
        stream and stream.flush()
