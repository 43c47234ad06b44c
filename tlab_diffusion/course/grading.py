"""Check an answer: run it on random inputs, and name the mistake where there is one."""

import dataclasses
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tlab_diffusion.course import journal, runner
from tlab_diffusion.course.answer_check import agrees, complaint, described, difference, normalised
from tlab_diffusion.course.exercise import Exercise
from tlab_diffusion.course.exercises import find
from tlab_diffusion.course.feedback import Shown, box, prose, show
from tlab_diffusion.course.tracebacks import is_stub, learners_traceback

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
    """

    id: str
    outcome: str
    message: str
    misconception: str | None = None

    def _heading(self) -> str:
        name = f" ({self.misconception})" if self.misconception else ""
        return f"{FACES[self.outcome][0]}: {self.id}{name}"

    def _body(self) -> str:
        more = "" if self.outcome == "passed" else f'\n\nFor help: `hint("{self.id}")`'
        return self.message + more

    def _text(self) -> str:
        return f"{self._heading()}\n{self._body()}"

    def _html(self) -> str:
        return box(self._heading(), prose(self._body()), FACES[self.outcome][1])


def check(id: str, function: Callable) -> Result:
    r"""Check an answer to an exercise, and note the outcome in the learner's journal.

    Args:
        id: of the exercise, as `exercises()` lists it.
        function: the learner's function itself, not what it returns.

    Returns:
        A `Result`, which shows itself in a notebook.

    Raises:
        InputError: if there is no such exercise.
        AssertionError: if the answer did not pass and the environment variable TLAB_GRADING
            is 1; so a graded notebook fails where its answers do.
    """
    exercise = find(id)
    # An answer may draw random numbers: the learner's random state is restored afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        result = _grade(exercise, function)
    journal.record(result.id, result.outcome, result.misconception)
    if os.environ.get("TLAB_GRADING") == "1" and result.outcome != "passed":
        show(result)
        raise AssertionError(f"{id}: {result.outcome}. {result.message}")
    return result


def _grade(exercise: Exercise, function: Callable) -> Result:
    """Judge the answer on the fixed draw of the inputs, and where that passes on a fresh one."""
    inputs = exercise.make_inputs(exercise.generator())
    if said := _call_complaint(exercise, function, inputs[0]):
        return Result(exercise.id, "failed", said)
    if wrong := _judge(exercise, function, inputs, show_printed=True):
        return wrong
    fresh = exercise.make_inputs(exercise.fresh_generator())
    if wrong := _judge(exercise, function, fresh):
        failing = (each for each in fresh if _judge(exercise, function, [each]))
        return _on_fresh_inputs(wrong, exercise, next(failing, fresh[0]))
    return _passed(exercise, function)


def _judge(
    exercise: Exercise, function: Callable, inputs: list[tuple], show_printed: bool = False
) -> Result | None:
    """Run the answer on every input; the result where it is not right on all of them."""
    answers, changed = [], None
    for number, arguments in enumerate(inputs):
        copies = _copy(arguments)
        call = runner.call(exercise.observed(function), *copies)
        if show_printed and number == 0 and call.printed:  # once is enough
            print(call.printed, end="")
        if interruption := _interruption(exercise, function, call):
            # A mistake that ends in an error on these inputs may have a name on those before.
            return _named(exercise, inputs, answers) or interruption
        answers.append(call.value)
        changed = changed or _changed(exercise, arguments, copies)
    right = exercise.observed(exercise.reference)
    expected = [right(*_copy(arguments)) for arguments in inputs]
    if not _all_agree(answers, expected) and (
        wrong := _named(exercise, inputs, answers) or _malformed(exercise, answers, expected)
    ):
        return wrong
    if changed:
        return _mutated(exercise, changed)
    if _all_agree(answers, expected):
        return None
    return Result(exercise.id, "failed", _unnamed(exercise, function, inputs, answers, expected))


def _on_fresh_inputs(wrong: Result, exercise: Exercise, arguments: tuple) -> Result:
    """The result of the fresh draw, with the inputs on which the answer is not right."""
    drawn = zip(exercise.parameters, arguments, strict=True)
    said = (
        "Your answer is right on the inputs of every check, but not on these, which were drawn "
        f"just now. {wrong.message}\n\nThe inputs:\n\n"
        + "\n".join(f"    {name} = {described(value)}" for name, value in drawn)
    )
    return dataclasses.replace(wrong, message=said)


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
    except (TypeError, ValueError):  # some built-in functions have none: just try
        return None
    names = tuple(signature.parameters)
    expected = f"Expected `{exercise.signature}`"
    if names != exercise.parameters and set(names) == set(exercise.parameters):
        return f"{expected}; yours has its arguments in another order: ({', '.join(names)})."
    try:
        signature.bind(*arguments)
    except TypeError:
        return f"{expected}; yours takes ({', '.join(names)})."
    return None


def _interruption(exercise: Exercise, function: Callable, call: runner.Call) -> Result | None:
    """The result where a call gave no value."""
    if not call.ended:
        said = (
            f"Your function had not ended after {runner.LIMIT_S:g} seconds, so it was stopped. "
            "Is there a loop that never ends?"
        )
        if not call.stopped:
            said += " It could not be stopped and still runs: restart the kernel."
        return Result(exercise.id, "failed", said)
    if call.error is None:
        return None
    if is_stub(call.error, function):
        said = (
            f"Nothing is wrong: `{exercise.name}` is still to be written. Put your code in the "
            "place of `raise NotImplementedError` and run the cell again. The lesson goes on "
            "with the package's own function meanwhile."
        )
        return Result(exercise.id, "not_attempted", said)
    return Result(exercise.id, "raised", learners_traceback(call.error))


def _named(exercise: Exercise, inputs: list, answers: list) -> Result | None:
    """The result if exactly one known wrong answer agrees on the inputs that are answered."""

    def fits(form: Callable) -> bool:
        wrong = exercise.observed(form)
        try:
            return all(
                agrees(got, wrong(*_copy(arguments)))
                for got, arguments in zip(answers, inputs, strict=False)
            )
        except Exception:  # a mistake that is an error where the answer is none
            return False

    if not answers or fits(exercise.reference):
        return None
    matching = [v for v in exercise.variants if any(fits(form) for form in v.forms)]
    if len(matching) != 1:
        return None
    return Result(exercise.id, "failed", matching[0].why, matching[0].name)


def _malformed(exercise: Exercise, answers: list, expected: list) -> Result | None:
    """The result where an answer has the wrong type, shape or dtype, or is not finite."""
    said = next(filter(None, map(complaint, answers, expected)), None)
    return Result(exercise.id, "failed", said) if said else None


def _unnamed(
    exercise: Exercise, function: Callable, inputs: list, answers: list, expected: list
) -> str:
    """A message for a wrong answer that no variant describes."""
    again = runner.call(exercise.observed(function), *_copy(inputs[0]))
    returned = again.ended and again.error is None
    if returned and not agrees(again.value, normalised(answers[0], expected[0])):
        return (
            "Called twice with the same inputs, your function gives two answers: it draws "
            "random numbers. Use only its arguments."
        )
    if said := _first_failing(exercise, function, exercise.invariants):
        return said
    wrong = next(i for i, got in enumerate(answers) if not agrees(got, expected[i]))
    return difference(answers[wrong], expected[wrong])


def _passed(exercise: Exercise, function: Callable) -> Result:
    remark = _first_failing(exercise, function, exercise.remarks)
    return Result(
        exercise.id, "passed", exercise.verified + (f"\n\nOne remark. {remark}" if remark else "")
    )


def _first_failing(exercise: Exercise, function: Callable, properties: tuple) -> str | None:
    """What the first property says that the answer lacks, if it lacks any."""
    for look in properties:
        call = runner.call(look, function, exercise.generator())
        if not call.ended:
            return None
        if call.value:  # a property that cannot be computed of this answer says nothing
            return call.value
    return None


def _all_agree(answers: list, expected: list) -> bool:
    return all(agrees(got, right) for got, right in zip(answers, expected, strict=True))


def _copy(arguments: tuple) -> tuple:
    return tuple(_copy_one(argument) for argument in arguments)


def _copy_one(argument: object) -> object:
    if isinstance(argument, list):
        return [_copy_one(part) for part in argument]
    if isinstance(argument, torch.Generator):
        return argument.clone_state()
    return argument.clone() if isinstance(argument, Tensor) else argument


def _changed(exercise: Exercise, before: tuple, after: tuple) -> str | None:
    """The name of the first argument that the answer wrote into, if it did."""
    for name, old, new in zip(exercise.parameters, before, after, strict=True):
        if not _untouched(old, new):
            return name
    return None


def _untouched(old: object, new: object) -> bool:
    if isinstance(old, list):
        return len(old) == len(new) and all(map(_untouched, old, new))
    if isinstance(old, Tensor):
        return torch.equal(old, new)
    return not isinstance(old, int | float | str) or old == new


def _mutated(exercise: Exercise, name: str) -> Result:
    said = (
        f"Your function writes into its argument `{name}`, so the caller's own tensor changes. "
        f"Look for `{name} *= ...`, `{name} += ...`, `{name}[...] = ...` or a method that ends "
        "in `_`, and make a new tensor instead."
    )
    return Result(exercise.id, "failed", said, "INPUT_MUTATED")
