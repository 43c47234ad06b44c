"""The data of an exercise, which the checker, the hints and the tables read."""

import inspect
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch

LESSONS = {
    "start": "00 Start here",
    "noising": "01 Noising",
    "loss": "02 The loss",
    "training": "03 Training",
    "sampling": "04 Sampling",
    "guidance": "05 Text and guidance",
    "latent": "06 Latent diffusion",
    "dreambooth": "07 DreamBooth",
    "metrics": "07 DreamBooth",
    "hands_on": "08 DreamBooth, hands on",
    "grid": "09 Grid search",
}

# Looks at an answer on inputs of its own: a sentence about what is amiss, or None.
Property = Callable[[Callable, torch.Generator], str | None]


@dataclass(frozen=True)
class Variant:
    """A known wrong answer.

    Args:
        name: of the misconception, in capitals.
        why: what the learner's code does, where to look, and how to think about it.
        forms: the ways in which people write it, as functions with the exercise's signature.
    """

    name: str
    why: str
    forms: tuple[Callable, ...]


@dataclass(frozen=True)
class Exercise:
    r"""One exercise: to add one, add an entry to a lesson's module in `exercises`.

    Args:
        id: "lesson.function_name"; the lesson is a key of `LESSONS`.
        title: a few words.
        returns: what the function returns, with shapes.
        minutes: how long it takes, about.
        difficulty: 1 to 3.
        reference: the package's own function, which decides what is right.
        solution: a short function whose source is shown; it needs torch and math only.
        make_inputs: argument tuples, drawn from the generator, on which all variants differ.
            Each check asks for them twice: with the exercise's own generator, which gives the
            same inputs every time, and with a fresh one. The reference has to be well
            conditioned on every draw.
        verified: what a pass means, in a line.
        variants: the wrong answers that the checker knows by name.
        invariants: properties of a right answer; the first that fails is reported where no
            variant matches.
        hints: an idea, the formula in terms of code, nearly the code. Of a find-the-bug exercise:
            an idea, a question about each snippet, then a hint for each snippet.
        remarks: properties that a passed answer may lack; what it lacks is mentioned.
        snippets: faulty code to show, for a find-the-bug exercise.
        observe: where an answer draws random numbers: turns it into a function of the same
            arguments that returns what is compared instead, numbers that no lucky draw changes.
        expected_figure: draws what a right answer looks like, a `plots.Picture`, for the last
            hint.
    """

    id: str
    title: str
    returns: str
    minutes: int
    difficulty: int
    reference: Callable
    solution: Callable
    make_inputs: Callable[[torch.Generator], list[tuple]]
    verified: str
    hints: tuple[str, ...]
    variants: tuple[Variant, ...] = ()
    invariants: tuple[Property, ...] = ()
    remarks: tuple[Property, ...] = ()
    snippets: tuple[str, ...] = ()
    observe: Callable[[Callable], Callable] | None = None
    expected_figure: Callable | None = None

    @property
    def name(self) -> str:
        """The function's name."""
        return self.id.partition(".")[2]

    @property
    def lesson(self) -> str:
        """The lesson's number and title."""
        return LESSONS[self.id.partition(".")[0]]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the arguments, in order."""
        return tuple(inspect.signature(self.solution).parameters)

    @property
    def signature(self) -> str:
        """The call, as a learner writes it."""
        return f"{self.name}({', '.join(self.parameters)})"

    def observed(self, function: Callable) -> Callable:
        """The function whose results are compared: the answer itself, or what is seen of it."""
        return self.observe(function) if self.observe else function

    def generator(self) -> torch.Generator:
        """A source of randomness of the exercise's own: the same numbers at every check, so
        that messages are stable, and never the learner's random state."""
        return torch.Generator().manual_seed(zlib.crc32(self.id.encode()))

    def fresh_generator(self) -> torch.Generator:
        """A source of randomness that is different at every check."""
        generator = torch.Generator()
        generator.seed()
        return generator

    def __repr__(self) -> str:
        return f"Exercise({self.id!r})"
