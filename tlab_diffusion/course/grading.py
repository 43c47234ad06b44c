"""Check an answer: run it on random inputs, and name the mistake where there is one."""

import contextlib
import copy
import dataclasses
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tlab_diffusion.course import hints, journal, runner
from tlab_diffusion.course.answer_check import (
    HALF_PRECISION,
    agrees,
    complaint,
    described,
    difference,
    normalised,
    unfinished,
)
from tlab_diffusion.course.containment import RANDOM, contained, the_checks_own_state
from tlab_diffusion.course.exercise import Exercise
from tlab_diffusion.course.exercises import find
from tlab_diffusion.course.feedback import Shown, box, in_notebook, prose, show
from tlab_diffusion.course.gradients import gradient_complaint
from tlab_diffusion.course.notebook_variables import read_instead
from tlab_diffusion.course.readable import CannotBeRead, name_of_type, readable
from tlab_diffusion.course.tracebacks import has_code, is_stub, learners_traceback

NOTEBOOK_VARIABLE = "NOTEBOOK_VARIABLE"

# Heading and colour of each outcome (Okabe and Ito's palette, safe for colour-blind readers).
FACES = {
    "passed": ("✓ Passed", "#009e73"),
    "failed": ("✗ Not yet", "#d55e00"),
    "raised": ("! It raised an error", "#cc79a7"),
    "not_attempted": ("… Not attempted", "#0072b2"),
}


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """What a check found; in a notebook it shows itself.

    Args:
        id: of the exercise.
        outcome: "passed", "failed", "raised" or "not_attempted".
        message: what was found, in plain words.
        misconception: the name of the mistake, where exactly one known mistake fits.
        offer: what to type for the next hint; the first one if it is left out.
    """

    id: str
    outcome: str
    message: str
    misconception: str | None = None
    offer: str = ""

    def __bool__(self) -> bool:
        return self.outcome == "passed"

    def _heading(self) -> str:
        name = f" ({self.misconception})" if self.misconception else ""
        return f"{FACES[self.outcome][0]}: {self.id}{name}"

    def _body(self) -> str:
        offer = self.offer or f'hint("{self.id}")'
        return self.message + ("" if self else f"\n\nFor help: `{offer}`")

    def _ipython_display_(self) -> None:
        """Show a failure with a button for the next hint; anything else as usual."""
        if self.outcome not in ("failed", "raised") or not in_notebook():
            raise NotImplementedError  # IPython then asks for the representations
        from IPython.display import display

        from tlab_diffusion.course.hint_button import HintButton

        display(self._repr_mimebundle_(), raw=True)
        display(HintButton(self.id).widget)

    def _text(self) -> str:
        return f"{self._heading()}\n{self._body()}"

    def _html(self) -> str:
        return box(self._heading(), prose(self._body()), FACES[self.outcome][1])


def check(id: str, function: Callable, *, grade: bool = False) -> Result:
    r"""Check an answer to an exercise, and note the outcome in the learner's journal.

    Args:
        id: of the exercise, as `exercises()` lists it.
        function: the learner's function itself, not what it returns.
        grade: raise an error where the answer did not pass, so that a graded notebook fails
            where its answers do. The environment variable TLAB_GRADING=1 does the same for every
            check.

    Returns:
        A `Result`, which shows itself in a notebook, and is true where the answer passed.

    Raises:
        InputError: if there is no such exercise.
        AssertionError: if the answer did not pass and is graded.
    """
    exercise = find(id)
    trial = Trial(exercise, function)
    with the_checks_own_state() as replaced:
        result = trial.result()
    # A wrong answer that draws random numbers is told so in other words.
    changed = trial.changed if result else trial.changed - RANDOM
    message = result.message + _aside(changed, replaced)
    result = dataclasses.replace(result, message=message, offer=hints.next_call(id))
    journal.record(result.id, result.outcome, result.misconception)
    if (grade or os.environ.get("TLAB_GRADING") == "1") and not result:
        show(result)
        raise AssertionError(f"{id}: {result.outcome}. {result.message}")
    return result


def _aside(changed: set[str], replaced: list[str]) -> str:
    """What the learner is told of side effects, in a line each."""
    lines = ""
    if changed:
        lines += f"\n\nYour function also changed {', '.join(sorted(changed))}. It was put back."
    if replaced:
        names = ", ".join(replaced)
        lines += f"\n\nThis notebook replaces {names}. The check used the library's own."
    return lines


class Trial:
    """One check of one answer: its calls, and what they changed in the process.

    Args:
        exercise: that is asked.
        function: the learner's.
    """

    def __init__(self, exercise: Exercise, function: Callable):
        self.exercise, self.function = exercise, function
        self.changed: set[str] = set()
        self.shown = False  # what the answer prints is shown once

    def result(self) -> Result:
        """Judge the answer on the fixed draw of the inputs, and then on a fresh one."""
        exercise = self.exercise
        inputs = exercise.make_inputs(exercise.generator())
        if said := _call_complaint(exercise, self.function, inputs[0]):
            return self._failed(said)
        if (wrong := self._judged(inputs)) is not None:
            return wrong
        fresh = exercise.make_inputs(exercise.fresh_generator())
        if (wrong := self._judged(fresh)) is not None:
            failing = (each for each in fresh if self._judged([each]) is not None)
            return _on_fresh_inputs(wrong, exercise, next(failing, fresh[0]))
        return self._passed()

    def _judged(self, inputs: list[tuple]) -> Result | None:
        """Run the answer on every input; the result where it is not right on all of them."""
        answers, written, interruption = self._answers(inputs)
        if interruption is not None:
            # A mistake that ends in an error on these inputs may have a name on those before.
            named = self._named(inputs, answers)
            return interruption if named is None else named
        right = self.exercise.observed(self.exercise.reference)
        expected = [right(*_copy(arguments)) for arguments in inputs]
        if not _all_agree(answers, expected):
            for wrong in (self._named(inputs, answers), self._malformed(answers, expected)):
                if wrong is not None:
                    return wrong
        if written:
            return self._mutated(written)
        if not _all_agree(answers, expected):
            return self._failed(self._unnamed(inputs, answers, expected))
        with self._contained():
            said = next(filter(None, map(gradient_complaint, answers, expected)), None)
        return self._failed(said, "NO_GRADIENT") if said else None

    def _answers(self, inputs: list[tuple]) -> tuple[list, str | None, Result | None]:
        """What is returned for the inputs, the argument that is written into, and what stopped
        the answer before the last one."""
        answers, written = [], None
        function = self.exercise.observed(readable(self.function))
        with self._contained():
            for arguments in inputs:
                copies = _copy(arguments)
                call = self._call(function, *copies)
                if (interruption := self._interruption(call)) is not None:
                    return answers, written, interruption
                answers.append(call.value)
                written = written or _written_into(self.exercise, arguments, copies)
        return answers, written, None

    @contextlib.contextmanager
    def _contained(self) -> Iterator[None]:
        with contained() as changed:
            yield
        self.changed.update(changed)

    def _call(self, function: Callable, *arguments) -> runner.Call:
        call = runner.call(function, *arguments)
        if not self.shown:
            print(call.printed, end="")
            print(call.warned, end="", file=sys.stderr)
            self.shown = True
        return call

    def _failed(self, said: str, misconception: str | None = None) -> Result:
        return Result(self.exercise.id, "failed", said, misconception)

    def _interruption(self, call: runner.Call) -> Result | None:
        """The result where a call gave no value."""
        if not call.ended:
            said = (
                f"Your function had not ended after {runner.LIMIT_S:g} seconds, so it was "
                "stopped. Is there a loop that never ends?"
            )
            if not call.stopped:
                said += " It could not be stopped and still runs: restart the kernel."
            return self._failed(said)
        if call.error is None:
            return None
        if isinstance(call.error, CannotBeRead):
            (kind,) = call.error.args
            return self._failed(
                f"Your function returned something that cannot be read (its type is {kind}): it "
                "raises an error when it is looked at. Return plain tensors or numbers."
            )
        if isinstance(call.error, BlockingIOError):  # the pipe that `runner` leads it into is full
            return self._failed(
                "Your function writes so much to the standard output that it was stopped. Print "
                "a few lines only."
            )
        if is_stub(call.error, self.function):
            return self._stub()
        said = _shown_error(call.error)
        if used := self._notebook_variable():
            return Result(self.exercise.id, "raised", f"{used}\n\n{said}", NOTEBOOK_VARIABLE)
        return Result(self.exercise.id, "raised", said)

    def _stub(self) -> Result:
        """The result where the stub's `raise` was reached."""
        if has_code(self.function):
            said = (
                f"There is code in `{self.exercise.name}`, but the line `raise "
                "NotImplementedError` still stands in it, and was reached. Delete that line."
            )
            return Result(self.exercise.id, "raised", said, "RAISE_LEFT_IN")
        said = (
            f"Nothing is wrong: `{self.exercise.name}` is still to be written. Put your code in "
            "the place of `raise NotImplementedError` and run the cell again. The lesson goes on "
            "with the package's own function meanwhile."
        )
        return Result(self.exercise.id, "not_attempted", said)

    def _named(self, inputs: list, answers: list) -> Result | None:
        """The result if one known mistake, and no other, explains the answers so far."""

        def fits(form: Callable) -> bool:
            observed = self.exercise.observed(form)
            try:
                pairs = zip(answers, inputs, strict=False)
                return all(agrees(got, observed(*_copy(arguments))) for got, arguments in pairs)
            except Exception:  # a mistake that is an error where the answer is none
                return False

        if not answers or fits(self.exercise.reference):
            return None
        if used := self._notebook_variable():
            return self._failed(used, NOTEBOOK_VARIABLE)
        matching = [v for v in self.exercise.variants if any(fits(form) for form in v.forms)]
        return self._failed(matching[0].why, matching[0].name) if len(matching) == 1 else None

    def _notebook_variable(self) -> str | None:
        found = read_instead(self.function, self.exercise.parameters)
        if not found:
            return None
        variable, argument = found
        return (
            f"Your function reads `{variable}`, a variable of the notebook, and never its "
            f"argument `{argument}`: it answers the same whatever it is handed. Use `{argument}`."
        )

    def _malformed(self, answers: list, expected: list) -> Result | None:
        """The result where an answer has the wrong type, shape or dtype, or is not finite."""
        for got, right in zip(answers, expected, strict=True):
            if said := complaint(got, right) or unfinished(got, right):
                return self._failed(said, "HALF_PRECISION" if HALF_PRECISION in said else None)
        return None

    def _mutated(self, name: str) -> Result:
        said = (
            f"Your function writes into its argument `{name}`, so the caller's own value changes. "
            f"Look for `{name} *= ...`, `{name} += ...`, `{name}[...] = ...` or a method that "
            "ends in `_`, and make a new one instead."
        )
        return self._failed(said, "INPUT_MUTATED")

    def _unnamed(self, inputs: list, answers: list, expected: list) -> str:
        """A message for a wrong answer that no variant describes."""
        again, _, interruption = self._answers(inputs[:1])
        if interruption is None and not agrees(again[0], normalised(answers[0], expected[0])):
            return (
                "Called twice with the same inputs, your function gives two answers: it draws "
                "random numbers, or keeps something from call to call. Use only its arguments."
            )
        if said := self._first_failing(self.exercise.invariants):
            return said
        wrong = next(i for i, got in enumerate(answers) if not agrees(got, expected[i]))
        return difference(answers[wrong], expected[wrong])

    def _passed(self) -> Result:
        remark = self._first_failing(self.exercise.remarks)
        more = f"\n\nOne remark. {remark}" if remark else ""
        return Result(self.exercise.id, "passed", self.exercise.verified + more)

    def _first_failing(self, properties: tuple) -> str | None:
        """What the first property says that the answer lacks, if it lacks any."""
        for look in properties:
            with self._contained():
                call = self._call(look, readable(self.function), self.exercise.generator())
            if not call.ended:
                return None
            if call.value:  # a property that cannot be computed of this answer says nothing
                return call.value
        return None


def _on_fresh_inputs(wrong: Result, exercise: Exercise, arguments: tuple) -> Result:
    """The result of the fresh draw, with the inputs on which the answer is not right."""
    drawn = zip(exercise.parameters, arguments, strict=True)
    said = (
        "Your answer is right on the inputs of every check, but not on these, which were drawn "
        f"just now. {wrong.message}\n\nThe inputs:\n\n"
        + "\n".join(f"    {name} = {described(value)}" for name, value in drawn)
    )
    return dataclasses.replace(wrong, message=said)


def _shown_error(error: BaseException) -> str:
    """The learner's traceback; an error whose own methods raise or never end has none."""
    call = runner.call(learners_traceback, error)
    if call.ended and call.error is None:
        return call.value
    return f"It raised an error that cannot be shown (its type is {name_of_type(error)})."


def _call_complaint(exercise: Exercise, function: object, arguments: tuple) -> str | None:
    """Say why the function cannot be called as the exercise asks, if it cannot."""
    if not callable(function):
        kind = type(function).__name__
        return (
            f"`check` got a value of type {kind}, not a function. Hand over the function itself, "
            f'without calling it: `check("{exercise.id}", {exercise.name})`.'
        )
    try:
        signature = inspect.signature(function)
    except Exception:  # some built-in functions have none, and an object may refuse: just try
        return None
    names = tuple(signature.parameters)
    expected = f"Expected `{exercise.signature}`"
    if names != exercise.parameters and set(names) == set(exercise.parameters):
        return f"{expected}; yours has its arguments in another order: ({', '.join(names)})."
    try:
        signature.bind(*arguments)
    except TypeError:
        kinds = [parameter.kind for parameter in signature.parameters.values()]
        if inspect.Parameter.KEYWORD_ONLY in kinds:
            return (
                f"{expected}, called without names. Yours takes some arguments by name only: "
                "leave out the `*` before them."
            )
        return f"{expected}; yours takes ({', '.join(names)})."
    return None


def _all_agree(answers: list, expected: list) -> bool:
    return all(agrees(got, right) for got, right in zip(answers, expected, strict=True))


def _copy(arguments: tuple) -> tuple:
    return tuple(_copy_one(argument) for argument in arguments)


def _copy_one(argument: object) -> object:
    if isinstance(argument, list):
        return [_copy_one(part) for part in argument]
    if isinstance(argument, dict):
        return {name: _copy_one(part) for name, part in argument.items()}
    if isinstance(argument, torch.nn.Module):
        return copy.deepcopy(argument)
    if isinstance(argument, torch.Generator):
        return argument.clone_state()
    # A clone, no leaf: it may be written into, and gradients flow back to the original.
    return argument.clone() if isinstance(argument, Tensor) else argument


def _written_into(exercise: Exercise, before: tuple, after: tuple) -> str | None:
    """The name of the first argument that the answer wrote into, if it did."""
    for name, old, new in zip(exercise.parameters, before, after, strict=True):
        if not _untouched(old, new):
            return name
    return None


def _untouched(old: object, new: object) -> bool:
    if isinstance(old, list):
        return len(old) == len(new) and all(map(_untouched, old, new))
    if isinstance(old, dict):
        return list(old) == list(new) and all(_untouched(old[name], new[name]) for name in old)
    if isinstance(old, torch.nn.Module):
        return old.training == new.training and _untouched(old.state_dict(), new.state_dict())
    if isinstance(old, Tensor):
        return old.dtype == new.dtype and torch.equal(old, new)
    return not isinstance(old, int | float | str) or old == new
