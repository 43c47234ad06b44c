r"""The metrics of one model on one subject: a plain record of numbers with their intervals.

dino              mean cosine, in the image-only encoder, of the samples with the references
clip_i            the same in the image half of the image-text encoders
clip_t            mean cosine of each sample with its prompt, the identifier left out
div               mean of 1 - cosine, image-only, over the samples of one prompt
pres              dino of the model's *class* samples: high where the class became the subject
class_div         div of these class samples
identity          share of the samples that show the subject and copy no reference, over the prompts
                  where this can be judged (`Prompt.shows_identity`)
copies            share of the samples that copy a reference
prompt_accuracy   share of the samples that show everything the prompt asks for; also factor by
                  factor: place, colour, ...
class_taken       share of pictures of the class in places that show the subject
other_taken       the same for other classes
class_colour      share of pictures of the bare class and of the class in places in the subject's
                  colour; the original model's own share says how many are chance
other_colour      the same for other classes
other_pres        dino of the pictures of other classes
class_accuracy    share of pictures of the class in places that show the class and the place
entropy_*         entropy of the colours and patterns of the class samples, divided by the world's

Shares of what is recognised need the picture book; the others need only encoders. The paper
(arXiv:2208.12242) takes LPIPS for div and other encoders, so its numbers cannot be compared with
these.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from tlab_diffusion.evaluation.statistics import Interval

Estimates = dict[str, Interval]


class Label(NamedTuple):
    """How a metric is called in tables, and what it means."""

    title: str
    meaning: str


# The metrics that reports show, in their order.
LABELS = {
    "identity": Label("identity", "pictures that show the subject and copy no reference"),
    "prompt_accuracy": Label(
        "prompt accuracy", "pictures that show everything the prompt asks for"
    ),
    "dino": Label("DINO", "likeness to the references, by an encoder of pictures"),
    "clip_i": Label("CLIP-I", "the same, by an encoder of pictures and words"),
    "clip_t": Label("CLIP-T", "likeness to the prompt"),
    "copies": Label("copies", "pictures that copy a reference"),
    "pres": Label(
        "PRES", "likeness of the bare class to the references: high if the class was lost"
    ),
    "class_div": Label("class DIV", "variety of the bare class"),
    "class_accuracy": Label(
        "class accuracy", "pictures of the class in places that show the class and the place"
    ),
    "class_taken": Label("class taken", "pictures of the class in places that show the subject"),
    "class_colour": Label(
        "class in its colour", "pictures of the class that have the subject's colour"
    ),
    "other_taken": Label("others taken", "pictures of other classes that show the subject"),
    "other_colour": Label(
        "others in its colour", "pictures of other classes that have the subject's colour"
    ),
    "other_pres": Label("others' PRES", "likeness of other classes to the references"),
}
COLUMNS = {name: name for name in ("dino", "clip_i", "clip_t", "div", "identity", "copies")} | {
    "prompt_accuracy": "prompt_acc",
    "place": "place",
}
OLD_NAMES = {"obeyed": "prompt_accuracy"}  # as earlier versions stored them


@dataclass(frozen=True)
class Metrics:
    """All metrics of one model, each a mean with its 95 % interval.

    Args:
        subject: the subject's name, or its class where it has none.
        counts: numbers of prompts and samples.
        samples: over all prompts.
        uses: by use, see `Prompt.use`.
        class_samples: over samples of the bare class noun.
        controls: the same metrics of other pictures: the references among themselves ("real"),
            copies of them, other members of the class, and the true subject as asked.
    """

    subject: str
    counts: dict[str, int]
    samples: Estimates
    uses: dict[str, Estimates]
    class_samples: Estimates
    controls: dict[str, Estimates]

    def numbers(self) -> dict[str, float]:
        """The means over all prompts and over the class samples, without intervals."""
        return {name: each.mean for name, each in (self.samples | self.class_samples).items()}

    def as_dict(self) -> dict:
        """A dict for JSON; an interval becomes [mean, low, high]."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping) -> "Metrics":
        """Read what `as_dict` gave, also after JSON and with the names of earlier versions."""
        rows = {name: _estimates(fields[name]) for name in ("samples", "class_samples")}
        groups = {
            name: {key: _estimates(row) for key, row in fields[name].items()}
            for name in ("uses", "controls")
        }
        return cls(subject=fields["subject"], counts=dict(fields["counts"]), **rows, **groups)

    def table(self) -> str:
        """A table of text."""
        return "\n".join(_table(self))


def _estimates(row: Mapping[str, Sequence[float | None]]) -> Estimates:
    return {OLD_NAMES.get(name, name): Interval(*each) for name, each in row.items()}


def _table(metrics: Metrics) -> Iterator[str]:
    counts = metrics.counts
    yield (
        f"{metrics.subject}: {counts['prompts']} prompts x {counts['per_prompt']} pictures, "
        f"{counts['per_class']} of the class{_leak_counts(counts)}"
    )
    yield _line("", COLUMNS.values())
    yield _line("all prompts", _cells(metrics.samples))
    for number, bound in enumerate(("from", "to"), start=1):
        yield _line(f"  95 %, {bound}", _cells(metrics.samples, number))
    for name, row in metrics.uses.items():
        yield _line(f"  {name}", _cells(row))
    for name, row in metrics.controls.items():
        yield _line(f"control: {name}", _cells(row))
    for name, each in metrics.class_samples.items():
        yield f"{name:20}{each}"


def _leak_counts(counts: Mapping[str, int]) -> str:
    number = counts.get("per_leak")  # in older files there is none
    return f", {number} of it in places, {number} of other classes" if number else ""


def _cells(row: Estimates, number: int = 0) -> list[str]:
    values = [row[name][number] if name in row else None for name in COLUMNS]
    return ["-" if value is None else f"{value:.3f}" for value in values]


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:20}" + "".join(f"{cell:>10}" for cell in cells)
