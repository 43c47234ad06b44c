r"""What the paper measures on a tuned model, and what only our world can (arXiv:2208.12242).

dino        mean cosine, in the image-only encoder, of the pictures with the references
clip_i      the same in the image half of the image-text encoders
clip_t      mean cosine of each picture with its prompt, the identifier left out
div         mean of 1 - cosine, image-only, over the pictures of one prompt
pres        dino of the model's *class* pictures: high where the class became the subject
class_div   div of these class pictures
identity    share of the pictures that show the subject and copy no reference, of the prompts that
            let it be told (`Prompt.shows_identity`)
copies      share of the pictures that copy a reference
obeyed      share of the pictures that show everything asked for; also factor by factor: place, ...
entropy_*   how evenly the class spreads over colours and patterns, as a share of the world

The paper takes LPIPS for div, and encoders of the wide world: its numbers and ours are not to be
set side by side.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from tlab_diffusion.dreambooth.measures.prompts import Prompt
from tlab_diffusion.dreambooth.measures.scoring import Scorer, Scores, summary
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.encoders import Encoders, shipped_encoders
from tlab_diffusion.evaluation.identity import Target
from tlab_diffusion.evaluation.quality import Sample
from tlab_diffusion.evaluation.statistics import Interval
from tlab_diffusion.picturebook.grammar import sentence

CLASS_SEED = 50_000  # the class pictures are the same, whatever else is asked
COLUMNS = ("dino", "clip_i", "clip_t", "div", "identity", "copies", "obeyed", "place")


@dataclass(frozen=True)
class Counts:
    """How many pictures are drawn: of each prompt, of the bare class, and at a time."""

    per_prompt: int = 4
    per_class: int = 50
    batch: int = 32

    def __post_init__(self):
        for name, least in {"per_prompt": 1, "per_class": 2, "batch": 1}.items():
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise InputError(name, got=repr(value), expected=f"an integer from {least} up")


class Drawn(NamedTuple):
    """What a model drew: pictures (N, H, W, 3) uint8 each.

    Args:
        samples: `counts.per_prompt` of each prompt, one prompt after the other.
        of_class: of the bare class noun.
    """

    samples: np.ndarray
    of_class: np.ndarray


@dataclass(frozen=True)
class Measures:
    """Plain numbers, each with its interval.

    Args:
        subject: its name, or its class where it has none.
        counts: how many pictures they rest on.
        samples: what the model drew for all prompts.
        uses: the same, use by use.
        class_samples: what it drew for the bare class noun.
        controls: what others would get: the references among themselves ("real"), one who copies
            them, strangers of the class, and a perfect model.
    """

    subject: str
    counts: dict[str, int]
    samples: Scores
    uses: dict[str, Scores]
    class_samples: Scores
    controls: dict[str, Scores]

    def numbers(self) -> dict[str, float]:
        """The means over all prompts and of the class, without intervals."""
        return {name: each.mean for name, each in (self.samples | self.class_samples).items()}

    def as_dict(self) -> dict:
        """Ready for JSON, where an interval becomes [mean, low, high]."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping) -> "Measures":
        """What `as_dict` gave, also after its way through JSON."""
        rows = {name: _scores(fields[name]) for name in ("samples", "class_samples")}
        groups = {
            name: {key: _scores(row) for key, row in fields[name].items()}
            for name in ("uses", "controls")
        }
        return cls(subject=fields["subject"], counts=dict(fields["counts"]), **rows, **groups)

    def table(self) -> str:
        """All of it, as a few lines of text."""
        return "\n".join(_table(self))


def measure(
    sample: Sample,
    target: Target,
    prompts: Sequence[Prompt],
    *,
    judges: Encoders | None = None,
    counts: Counts | None = None,
    seed: int = 0,
) -> Measures:
    r"""Measure a tuned model, or the original one, to compare.

    The same seed starts every model from the same noise, so two can be compared pair by pair.

    Args:
        sample: draws pictures, asked for `counts.batch` at a time at most.
        target: the subject that it was tuned to.
        prompts: from `uses.prompts_for` or `uses.ten_prompts`.
        judges: other encoders than the shipped ones.
        counts: how many pictures.
        seed: of the noise.

    Raises:
        InputError: no prompts, not one picture for each prompt, or no weights to judge with.
    """
    counts = counts or Counts()
    drawn = draw_asked(sample, target, prompts, counts=counts, seed=seed)
    return judge(drawn, target, prompts, judges=judges, counts=counts)


def draw_asked(
    sample: Sample, target: Target, prompts: Sequence[Prompt], *, counts: Counts, seed: int = 0
) -> Drawn:
    r"""The first half of `measure`: all pictures that it looks at."""
    if not prompts:
        raise InputError("prompts", got="none", expected="1 or more")
    texts = [prompt.text for prompt in prompts for _ in range(counts.per_prompt)]
    class_prompts = [sentence({"class_noun": target.class_noun})] * counts.per_class
    of_class = _drawn(sample, class_prompts, seed + CLASS_SEED, counts.batch)
    return Drawn(_drawn(sample, texts, seed, counts.batch), of_class)


def judge(
    drawn: Drawn,
    target: Target,
    prompts: Sequence[Prompt],
    *,
    judges: Encoders | None = None,
    counts: Counts,
) -> Measures:
    r"""The second half of `measure`, of pictures that `draw_asked` gave."""
    scorer = Scorer(target, judges or shipped_encoders())
    asked = [prompt for prompt in prompts for _ in range(counts.per_prompt)]
    rows = scorer.rows(drawn.samples, prompts)
    uses = {prompt.use: [] for prompt in prompts}
    for prompt, row in zip(prompts, rows, strict=True):
        uses[prompt.use].append(row)
    return Measures(
        subject=target.name or target.class_noun,
        counts={"prompts": len(prompts)} | asdict(counts),
        samples=summary(rows),
        uses={use: summary(part) for use, part in uses.items()},
        class_samples=scorer.class_scores(drawn.of_class),
        controls=scorer.controls(asked, prompts),
    )


def _drawn(sample: Sample, texts: Sequence[str], seed: int, batch: int) -> np.ndarray:
    """One picture for each text; every batch has a seed of its own."""
    parts = []
    for start in range(0, len(texts), batch):
        part = list(texts[start : start + batch])
        pictures = np.asarray(sample(part, seed + start))
        if len(pictures) != len(part):
            got = f"{len(pictures)} pictures"
            raise InputError("sample", got=got, expected=f"{len(part)}, one for each prompt")
        parts.append(pictures)
    return np.concatenate(parts)


def _scores(row: Mapping[str, Sequence[float | None]]) -> Scores:
    return {name: Interval(*each) for name, each in row.items()}


def _table(measures: Measures) -> Iterator[str]:
    counts = measures.counts
    yield (
        f"{measures.subject}: {counts['prompts']} prompts x {counts['per_prompt']} pictures, "
        f"{counts['per_class']} of the class"
    )
    yield _line("", COLUMNS)
    yield _line("all prompts", _cells(measures.samples))
    for number, bound in enumerate(("from", "to"), start=1):
        yield _line(f"  95 %, {bound}", _cells(measures.samples, number))
    for name, row in measures.uses.items():
        yield _line(f"  {name}", _cells(row))
    for name, row in measures.controls.items():
        yield _line(f"control: {name}", _cells(row))
    for name, each in measures.class_samples.items():
        yield f"{name:20}{each}"


def _cells(row: Scores, number: int = 0) -> list[str]:
    values = [row[name][number] if name in row else None for name in COLUMNS]
    return ["-" if value is None else f"{value:.3f}" for value in values]


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:20}" + "".join(f"{cell:>10}" for cell in cells)
