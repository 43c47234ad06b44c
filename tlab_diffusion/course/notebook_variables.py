"""Find the variable of the notebook that a function reads instead of its argument."""

import dis
import types
from collections.abc import Callable, Iterator


def read_instead(function: Callable, parameters: tuple[str, ...]) -> tuple[str, str] | None:
    """The global variable that a function reads, and the argument that it never reads.

    Args:
        function: the learner's.
        parameters: the arguments as the exercise names them; the learner's names may differ.

    Returns:
        Both names, or None where no argument is left out or no such variable is read.
    """
    if not isinstance(function, types.FunctionType):
        return None
    code = function.__code__
    own = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    read = {name for instruction in _instructions(code) for name in _names_read(instruction)}
    unread = [name for name in own if name not in read]
    if not unread:
        return None
    for name in _globals_read(code):
        if name not in function.__globals__:
            continue
        if name in parameters:
            position = parameters.index(name)
            meant = own[position] if position < len(own) else unread[0]
            return name, meant if meant in unread else unread[0]
        if _is_data(function.__globals__[name]):
            return name, unread[0]
    return None


def _instructions(code: types.CodeType) -> Iterator[dis.Instruction]:
    yield from dis.get_instructions(code)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _instructions(constant)


def _names_read(instruction: dis.Instruction) -> tuple[str, ...]:
    """The names that an instruction reads; Python 3.13 has some that read two."""
    if instruction.opname in ("STORE_FAST", "STORE_DEREF", "DELETE_FAST", "MAKE_CELL"):
        return ()
    if instruction.opname == "STORE_FAST_LOAD_FAST":
        return instruction.argval[1:]
    if "LOAD_FAST" in instruction.opname or instruction.opname in ("LOAD_DEREF", "LOAD_CLOSURE"):
        value = instruction.argval
        return value if isinstance(value, tuple) else (value,)
    return ()


def _globals_read(code: types.CodeType) -> list[str]:
    found = [i.argval for i in _instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    return list(dict.fromkeys(found))


def _is_data(value: object) -> bool:
    return not callable(value) and not issubclass(type(value), types.ModuleType)
