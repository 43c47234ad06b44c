"""Run a learner's function so that nothing it does can stop the notebook.

The function runs in a thread of its own, and the caller waits. A kernel interrupt reaches the
caller, an endless loop is ended from outside; both on every system, for no signal is used. The
limit: a single call into C that never lets other threads run (`9**9**9`, say) cannot be ended by
any thread; the kernel must then be restarted by hand.
"""

import contextlib
import contextvars
import ctypes
import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

LIMIT_S = 5.0  # how long an answer may take
PATIENCE_S = 1.0  # how long we try to end one that does not
STACK_BYTES = 16 << 20  # so that deep recursion ends in Python's own error, not in a crash
POLL_S = 0.05  # a wait in slices, so that an interrupt is noticed on Windows too
MOST_PRINTED = 2000  # characters kept of what an answer prints


@dataclass(frozen=True)
class Call:
    """How a call went: a value, or an error, or no end."""

    value: object = None
    error: BaseException | None = None
    ended: bool = True
    stopped: bool = True  # False where the endless answer could not even be stopped
    printed: str = ""


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
    printed = _Printed()
    with contextlib.redirect_stdout(printed):
        try:
            _start(thread)
            ended = _wait(done, LIMIT_S)
        finally:  # on a kernel interrupt too
            stopped = done.is_set() or _stop(thread)
    if not ended:
        return Call(ended=False, stopped=stopped, printed=printed.getvalue())
    return Call(outcome.get("value"), outcome.get("error"), printed=printed.getvalue())


def _start(thread: threading.Thread) -> None:
    usual = threading.stack_size(STACK_BYTES)
    try:
        thread.start()
    finally:
        threading.stack_size(usual)


def _wait(done: threading.Event, seconds: float) -> bool:
    """Wait for the answer; False if it is still running after that time.

    Not by `thread.join`: interrupted, it takes the thread for dead (Python 3.11).
    """
    deadline = time.monotonic() + seconds
    while not done.is_set() and time.monotonic() < deadline:
        done.wait(POLL_S)
    return done.is_set()


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


class _Printed(io.StringIO):
    """Keeps the beginning of what is printed: an endless loop may never stop printing."""

    def write(self, text: str) -> int:
        super().write(text[: max(0, MOST_PRINTED - self.tell())])
        return len(text)
