"""The learner's own traceback: where their code went wrong, without the checker's frames."""

import dis
import re
import textwrap
import traceback
from pathlib import Path

HERE = Path(__file__).parent


def is_stub(error: BaseException) -> bool:
    """Whether an error is the `raise NotImplementedError` of an exercise not yet written.

    Torch raises NotImplementedError too, from within its operations ("not implemented for
    'Int'"): that one is a mistake to show. So ask whether a `raise` statement was running.
    """
    if not isinstance(error, NotImplementedError) or error.__traceback__ is None:
        return False
    frame = error.__traceback__
    while frame.tb_next is not None:
        frame = frame.tb_next
    instruction = frame.tb_frame.f_code.co_code[frame.tb_lasti]
    return instruction == dis.opmap["RAISE_VARARGS"]


def learners_traceback(error: BaseException) -> str:
    """Format an error with the learner's frames and those below, indented as code.

    The same on every machine and in every run: no folders, no addresses, no markers whose
    drawing depends on Python's version.
    """
    report = traceback.TracebackException.from_exception(error)
    _keep_learners_frames(report)
    text = "".join(report.format()).strip("\n")
    text = re.sub(r"0x[0-9a-fA-F]{6,}", "0x...", text)
    text = re.sub(r"(?m)^\s*$", "", text).replace("\n\n", "\n")
    return "Your function raised an error:\n\n" + textwrap.indent(text, "    ")


def _keep_learners_frames(report: traceback.TracebackException | None) -> None:
    if report is None:
        return
    report.stack = traceback.StackSummary.from_list(
        traceback.FrameSummary(_name(f.filename), f.lineno, f.name, line=f.line, lookup_line=False)
        for f in report.stack
        if HERE not in Path(f.filename).parents
    )
    _keep_learners_frames(report.__cause__)
    _keep_learners_frames(report.__context__)


def _name(filename: str) -> str:
    """A file as the learner knows it: a cell, a library's file, or a file's plain name."""
    path = Path(filename)
    if "site-packages" in path.parts:
        return "/".join(path.parts[path.parts.index("site-packages") + 1 :])
    if filename.startswith("<") or any(part.startswith("ipykernel_") for part in path.parts):
        return "your cell"
    return path.name
