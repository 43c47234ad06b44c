"""Undo what an answer changes in the process beside its result, and say what it was.

Gradient mode, default device, numpy's print options and its handling of errors belong to the
thread or to its context, so that they never reach the caller.
"""

import contextlib
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

LIBRARIES = str(Path(torch.__file__).parents[1])


@dataclass(frozen=True)
class State:
    """A setting of the process: its name, and how it is read and written."""

    name: str
    read: Callable[[], object]
    write: Callable[[object], None]


def _folder() -> str | None:
    try:
        return str(Path.cwd())
    except FileNotFoundError:  # it was deleted
        return None


def _variables() -> dict[str, str]:
    """The environment, without what torch.compile notes there for itself."""
    return {name: value for name, value in os.environ.items() if "TORCHINDUCTOR" not in name}


def _set_variables(wanted: dict[str, str]) -> None:
    for name in _variables().keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)


def _deterministic() -> tuple:
    backend = torch.backends.cudnn
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    return algorithms, warn_only, backend.deterministic, backend.benchmark


def _set_deterministic(wanted: tuple) -> None:
    algorithms, warn_only, deterministic, benchmark = wanted
    if (algorithms, warn_only) != _deterministic()[:2]:  # it imports much
        torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = deterministic, benchmark


def _print_options() -> dict:
    return dict(vars(torch._tensor_str.PRINT_OPTS))


def _numpys_random_state() -> tuple:
    name, keys, *rest = np.random.get_state()
    return name, tuple(keys.tolist()), *rest


SETTINGS = (
    State("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    State("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    State("torch's deterministic mode", _deterministic, _set_deterministic),
    State(
        "torch's precision of matrix products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    State("torch's print options", _print_options, vars(torch._tensor_str.PRINT_OPTS).update),
    State("the working folder", _folder, lambda folder: folder and os.chdir(folder)),
    State("the environment variables", _variables, _set_variables),
)
RANDOM_STATES = (
    State(
        "torch's random state",
        lambda: torch.get_rng_state().numpy().tobytes(),
        lambda state: torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8)),
    ),
    State("numpy's random state", _numpys_random_state, np.random.set_state),
    State("Python's random state", random.getstate, random.setstate),
)
RANDOM = {state.name for state in RANDOM_STATES}
# Whose functions the checks are made of, as they were when the course was imported.
_OWNERS = {
    "torch": torch,
    "torch.Tensor": torch.Tensor,
    "torch.autograd": torch.autograd,
    "torch.linalg": torch.linalg,
    "torch.nn": torch.nn,
    "torch.nn.Module": torch.nn.Module,
    "torch.nn.functional": torch.nn.functional,
    "numpy": np,
}
_ORIGINALS = {
    owner: {
        name: value
        for name, value in vars(_OWNERS[owner]).items()
        if callable(value) and not isinstance(value, type)
    }
    for owner in _OWNERS
}
_METHODS = set(vars(torch.Tensor))  # of its own; the others are its base's, in C


@contextlib.contextmanager
def contained() -> Iterator[list[str]]:
    """Undo what the body changes in the process; random numbers that it draws stay drawn.

    Yields:
        A list; after the body it holds the names of what was changed.
    """
    changed = []
    before = [(state, state.read()) for state in (*SETTINGS, *RANDOM_STATES)]
    try:
        with _exits_blocked():
            yield changed
    finally:
        changed += _put_back(_replaced())
        for state, value in before:
            if state.read() != value:
                changed.append(state.name)
                if state in SETTINGS:
                    state.write(value)


@contextlib.contextmanager
def the_checks_own_state() -> Iterator[list[str]]:
    """Run a check from fixed random states and on the libraries' own functions.

    Afterwards everything is as the learner had it.

    Yields:
        The names of the functions that the learner had replaced.
    """
    random_states = [(state, state.read()) for state in RANDOM_STATES]
    replaced = _replaced()
    names = _put_back(replaced)
    torch.default_generator.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield names
    finally:
        for owner, name, value in replaced:
            setattr(_OWNERS[owner], name, value)
        for state, value in random_states:
            state.write(value)


def _replaced() -> list[tuple[str, str, object]]:
    """The functions of the libraries that are no longer their own: owner, name and value."""
    hidden = [
        ("torch.Tensor", name, value)
        for name, value in vars(torch.Tensor).items()
        if name not in _METHODS and hasattr(torch._C.TensorBase, name) and not _a_librarys(value)
    ]
    return hidden + [
        (owner, name, now[name])
        for owner, originals in _ORIGINALS.items()
        for now in [vars(_OWNERS[owner])]
        for name, original in originals.items()
        if now.get(name, original) is not original and not _a_librarys(now[name])
    ]


def _a_librarys(value: object) -> bool:
    """Whether it is a function that a library defines: torch.compile wraps some of torch's."""
    file = getattr(getattr(value, "__code__", None), "co_filename", "")
    return file.startswith(LIBRARIES)


def _put_back(replaced: list[tuple[str, str, object]]) -> list[str]:
    for owner, name, _ in replaced:
        if name in _ORIGINALS[owner]:
            setattr(_OWNERS[owner], name, _ORIGINALS[owner][name])
        else:
            delattr(_OWNERS[owner], name)
    return [f"`{owner}.{name}`" for owner, name, _ in replaced]


@contextlib.contextmanager
def _exits_blocked() -> Iterator[None]:
    """Let what would end the process, or ask Jupyter to end it, raise SystemExit."""
    shell = _shell()
    ends = [(os, "_exit"), (os, "abort"), *([(shell, "ask_exit")] if shell else [])]
    process, usual = os.getpid(), [getattr(owner, name) for owner, name in ends]

    def blocked(end: Callable) -> Callable:
        def refuse(*arguments):
            if os.getpid() != process:  # a child process may end
                end(*arguments)
            raise SystemExit(*arguments)

        return refuse

    for (owner, name), end in zip(ends, usual, strict=True):
        setattr(owner, name, blocked(end))
    try:
        yield
    finally:
        for (owner, name), end in zip(ends, usual, strict=True):
            setattr(owner, name, end)


def _shell() -> object | None:
    """IPython's shell, where the course runs in one."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return get_ipython()
