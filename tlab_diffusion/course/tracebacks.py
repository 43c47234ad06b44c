"""Tracebacks of the learner's code, without the checker's frames."""

import ast
import dis
import inspect
import re
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
LONGEST = 4000  # characters of a traceback: an error's message may hold a whole tensor
READ_IT = "The last line says what went wrong, the lines above it where in your code:"


def is_stub(error: BaseException, function: Callable) -> bool:
    """Whether an error is the `raise NotImplementedError` that stands in an exercise's stub.

    Torch raises NotImplementedError too, from within its operations ("not implemented for
    'Int'"), and so does a helper that is still a stub: those are mistakes to show. So ask whether
    a `raise` statement was running, and in the learner's function itself.
    """
    if not isinstance(error, NotImplementedError) or error.__traceback__ is None:
        return False
    frame = error.__traceback__
    while frame.tb_next is not None:
        frame = frame.tb_next
    code = frame.tb_frame.f_code
    if code is not getattr(function, "__code__", code):
        return False
    return code.co_code[frame.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def has_code(function: Callable) -> bool:
    """Whether a function holds more than its docstring and a `raise`."""
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
        body = tree.body
    except (OSError, TypeError, SyntaxError, ValueError, AttributeError):  # it has no source
        return False
    return not all(isinstance(n, ast.Raise | ast.Pass) or _is_text(n) for n in body)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def learners_traceback(error: BaseException) -> str:
    """Format an error with the learner's frames and those below, indented as code.

    The same on every machine and in every run: no folders, no addresses, no markers whose
    drawing depends on Python's version.
    """
    report = traceback.TracebackException.from_exception(error)
    for part in _chain(report):
        part.stack = traceback.StackSummary.from_list(
            traceback.FrameSummary(_name(f.filename), f.lineno, f.name, line=f.line)
            for f in part.stack
            if HERE not in Path(f.filename).parents
        )
    text = re.sub(r"0x[0-9a-fA-F]{6,}", "0x...", "".join(report.format()))
    text = "\n".join(line for line in text.splitlines() if line.strip())
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}\n...\n{text[-LONGEST // 2 :]}"
    return READ_IT + "\n\n" + textwrap.indent(text, "    ")


def _chain(report: traceback.TracebackException) -> list[traceback.TracebackException]:
    """The error, those that led to it, and those grouped within it."""
    chain, left = [], [report]
    while left:
        part = left.pop()
        chain.append(part)
        linked = [part.__cause__, part.__context__, *(part.exceptions or ())]
        left += [other for other in linked if other is not None]
    return chain


def _name(filename: str) -> str:
    """A file as the learner knows it: a cell, a library's file, or a file's plain name."""
    path = Path(filename)
    if "site-packages" in path.parts:
        return "/".join(path.parts[path.parts.index("site-packages") + 1 :])
    if filename.startswith("<") or any(part.startswith("ipykernel_") for part in path.parts):
        return "your cell"
    return path.name
