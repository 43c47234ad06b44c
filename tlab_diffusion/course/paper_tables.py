r"""The paper's tables next to ours (arXiv:2208.12242, Tables 1, 3 and 4).

Encoders, models and pictures differ, so only the direction of a difference can be compared, not the
numbers. Ours is claimed where the 95 % interval of the difference, paired by
subject, excludes 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from tlab_diffusion.course.stored import METHODS
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.evaluation.statistics import Interval, mean_interval, paired_effect

# By method and metric; DreamBooth and Textual Inversion both on Stable Diffusion.
TABLE_1 = {
    "real": {"dino": 0.774, "clip_i": 0.885},
    "dreambooth": {"dino": 0.668, "clip_i": 0.803, "clip_t": 0.305},
    "textual_inversion": {"dino": 0.569, "clip_i": 0.780, "clip_t": 0.255},
}
TABLE_3 = {
    "dreambooth": {"pres": 0.493, "div": 0.391, "dino": 0.684, "clip_i": 0.815, "clip_t": 0.308},
    "without_prior": {"pres": 0.664, "div": 0.371, "dino": 0.712, "clip_i": 0.828, "clip_t": 0.306},
}
TABLE_4 = {
    "dreambooth": {"dino": 0.744, "clip_i": 0.853},
    "wrong_noun": {"dino": 0.454, "clip_i": 0.728},
    "no_noun": {"dino": 0.303, "clip_i": 0.607},
}
OTHER_METRIC = ("div",)  # LPIPS in the paper, 1 - cosine here
NO_DIFFERENCE = 0.005  # the paper does not interpret smaller differences
NAMES = METHODS | {"real": "real pictures"}
LABELS = {"dino": "DINO", "clip_i": "CLIP-I", "clip_t": "CLIP-T", "pres": "PRES", "div": "DIV"}


class Row(NamedTuple):
    """A metric of a method: ours, and the paper's where the metric is the same."""

    metric: str
    method: str
    ours: Interval
    paper: float | None


class Effect(NamedTuple):
    """The difference of two methods, paired by subject, and the paper's difference."""

    metric: str
    one: str
    other: str
    ours: Interval
    paper: float

    @property
    def in_paper(self) -> str:
        """The direction of the difference in the paper."""
        return _direction(self.paper, clear=abs(self.paper) >= NO_DIFFERENCE)

    @property
    def here(self) -> str:
        """The direction here, where the interval excludes 0."""
        return _direction(self.ours.mean, clear=self.ours.excludes(0))

    @property
    def verdict(self) -> str:
        """Whether our result has the same direction as the paper's."""
        if self.here == self.in_paper:
            return "agrees"
        if self.here == "no clear difference":
            return "not clear here"
        return "only here" if self.in_paper == "no clear difference" else "the opposite"


class Comparison(NamedTuple):
    """One of the paper's tables and ours; printed, it is a table of text."""

    title: str
    subjects: int
    rows: list[Row]
    effects: list[Effect]

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def table_1(tables: Mapping[str, Sequence[Metrics]]) -> Comparison:
    r"""Subject and prompt fidelity: real pictures, DreamBooth, Textual Inversion.

    Args:
        tables: from `load_tables`.
    """
    pairs = [("real", "dreambooth"), ("dreambooth", "textual_inversion")]
    return _comparison("Table 1: subject and prompt fidelity", TABLE_1, pairs, tables)


def table_3(tables: Mapping[str, Sequence[Metrics]]) -> Comparison:
    r"""The prior-preservation loss: with it and without."""
    pairs = [("dreambooth", "without_prior")]
    return _comparison("Table 3: the prior-preservation loss", TABLE_3, pairs, tables)


def table_4(tables: Mapping[str, Sequence[Metrics]]) -> Comparison:
    r"""The class noun: right, wrong, none."""
    pairs = [("dreambooth", "wrong_noun"), ("dreambooth", "no_noun"), ("wrong_noun", "no_noun")]
    return _comparison("Table 4: the class noun", TABLE_4, pairs, tables)


def _comparison(
    title: str, paper: Mapping, pairs: Sequence[tuple[str, str]], tables: Mapping
) -> Comparison:
    names = list(dict.fromkeys(name for numbers in paper.values() for name in numbers))
    ours = {
        method: {name: _by_subject(tables, method, name) for name in numbers}
        for method, numbers in paper.items()
    }
    rows = [
        Row(
            name,
            method,
            mean_interval(list(ours[method][name].values())),
            None if name in OTHER_METRIC else numbers[name],
        )
        for name in names
        for method, numbers in paper.items()
        if name in numbers
    ]
    effects = [
        Effect(
            name,
            one,
            other,
            paired_effect(ours[one][name], ours[other][name]),
            paper[one][name] - paper[other][name],
        )
        for one, other in pairs
        for name in names
        if name in paper[one] and name in paper[other]
    ]
    return Comparison(title, len(tables["dreambooth"]), rows, effects)


def _by_subject(tables: Mapping, method: str, name: str) -> dict[str, float]:
    """A metric of every subject; real pictures are compared among themselves."""
    if method == "real":
        return {each.subject: each.controls["real"][name].mean for each in tables["original"]}
    return {each.subject: each.numbers()[name] for each in tables[method]}


def _direction(difference: float, *, clear: bool) -> str:
    if not clear:
        return "no clear difference"
    return "higher" if difference > 0 else "lower"


def _lines(table: Comparison) -> Iterator[str]:
    yield f"{table.title} ({table.subjects} subjects)"
    yield ""
    yield f"{'':10}{'':26}{'here [95 % interval]':26}{'paper':>6}"
    for row in table.rows:
        paper = "" if row.paper is None else f"{row.paper:.3f}"
        line = f"{LABELS[row.metric]:10}{NAMES[row.method]:26}{row.ours!s:26}{paper:>6}"
        yield line.rstrip()
    for pair, effects in groupby(table.effects, key=lambda each: (each.one, each.other)):
        yield ""
        yield " beside ".join(NAMES[method] for method in pair)
        yield f"  {'':8}{'in the paper':22}{'here':22}by [95 % interval]"
        for each in effects:
            here = f"{each.here:22}{each.ours!s:26}{each.verdict}"
            yield f"  {LABELS[each.metric]:8}{each.in_paper:22}{here}"
