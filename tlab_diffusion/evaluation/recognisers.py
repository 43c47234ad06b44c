"""Recognisers: one network that reads each factor off a picture."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from torch import Tensor, nn

from tlab_diffusion.evaluation.networks import (
    HIDDEN,
    WEIGHTS,
    in_batches,
    load_weights,
    new_trunk,
)
from tlab_diffusion.picturebook import FACTORS

FILE = WEIGHTS / "recognisers.safetensors"
# What each head can answer, in this order; a picture without an accessory shows None.
ANSWERS = {
    name: (None, *values) if name == "accessory" else values for name, values in FACTORS.items()
}
NOTHING = -1  # the label of what a picture does not show: an expression, from behind


class Recogniser(nn.Module):
    """One trunk, and a linear head for each factor."""

    def __init__(self):
        super().__init__()
        self.trunk = new_trunk()
        self.heads = nn.Linear(HIDDEN, sum(map(len, ANSWERS.values())))

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, 64, 64) to (B, all answers): logits
        return self.heads(self.trunk(x))


def split_heads(logits: Tensor) -> dict[str, Tensor]:
    r"""The logits (B, all answers) of each factor: (B, answers)."""
    parts = logits.split([len(answers) for answers in ANSWERS.values()], dim=1)
    return dict(zip(ANSWERS, parts, strict=True))


def labels_of(factors: Mapping[str, str | None]) -> list[int]:
    """Visible factors as the numbers of the right answers, factor by factor."""
    return [
        answers.index(factors[name]) if name in factors else NOTHING
        for name, answers in ANSWERS.items()
    ]


@lru_cache(maxsize=1)
def recogniser() -> Recogniser:
    """The shipped recogniser."""
    return load_weights(Recogniser(), FILE)


def recognise(pictures: np.ndarray, model: Recogniser | None = None) -> dict[str, list[str | None]]:
    r"""Read each factor off pictures.

    Args:
        pictures: (N, 64, 64, 3) uint8.
        model: another recogniser than the shipped one.

    Returns:
        for each factor the N values seen. None is no accessory, and no expression: a character
        seen from behind has no face.

    Raises:
        InputError: other pictures, or no weights.
    """
    logits = in_batches(model or recogniser(), pictures)
    seen = {
        name: [ANSWERS[name][number] for number in part.argmax(dim=1).tolist()]
        for name, part in split_heads(logits).items()
    }
    behind = [view == "back" for view in seen["view"]]
    seen["expression"] = [
        None if hidden else value for hidden, value in zip(behind, seen["expression"], strict=True)
    ]
    return seen


def accuracy(
    seen: Mapping[str, Sequence[str | None]], shown: Sequence[Mapping[str, str | None]]
) -> dict[str, float]:
    r"""How often each factor is recognised, among the pictures that show it.

    Args:
        seen: what `recognise` saw in N pictures.
        shown: N times the truth: the factors that count, with their values.

    Returns:
        for each factor a share from 0 to 1; factors that nothing shows are left out.
    """
    right: dict[str, list[bool]] = {name: [] for name in ANSWERS}
    for number, factors in enumerate(shown):
        for name, value in factors.items():
            right[name].append(seen[name][number] == value)
    return {name: sum(hits) / len(hits) for name, hits in right.items() if hits}
