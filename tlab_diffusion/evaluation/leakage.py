r"""Leakage: does a tuned model draw the subject, or its colour, where nobody asked for it?

The class in places and other classes in places are drawn without the identifier. Compare each share
with the original model's: its robots are turquoise now and then too.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tlab_diffusion.evaluation.encoders import Encoders
from tlab_diffusion.evaluation.identity import Gallery, SubjectReferences, is_subject
from tlab_diffusion.evaluation.metrics import image_similarity
from tlab_diffusion.evaluation.pictures import Sampler, sample_all
from tlab_diffusion.evaluation.statistics import Interval, mean_interval
from tlab_diffusion.evaluation.subject_prompts import CONTEXTS
from tlab_diffusion.picturebook import CLASSES
from tlab_diffusion.picturebook.grammar import sentence

# Seeds of the noise, apart from those of the prompts and of the bare class.
PLACES_SEED, OTHERS_SEED = 60_000, 70_000


class LeakSamples(NamedTuple):
    """What a model drew where the subject was not asked for: N pictures (N, H, W, 3) uint8 each.

    Args:
        of_places: the class in places.
        of_others: other classes in places.
        asked: of `of_places`, the factors that each picture should show.
    """

    of_places: np.ndarray
    of_others: np.ndarray
    asked: list[Mapping[str, str]]


def draw_leak_samples(
    sample: Sampler, class_noun: str, num: int, *, batch: int, seed: int = 0
) -> LeakSamples:
    r"""Draw `num` pictures of the class in places, and `num` of other classes."""
    others = [noun for noun in CLASSES if noun != class_noun]
    asked = [_in_place(class_noun, i) for i in range(num)]
    not_class = [_in_place(others[i % len(others)], i) for i in range(num)]

    def draw(factors: Sequence[Mapping[str, str]], seed: int) -> np.ndarray:
        return sample_all(sample, [sentence(each) for each in factors], seed, batch)

    of_places, of_others = draw(asked, seed + PLACES_SEED), draw(not_class, seed + OTHERS_SEED)
    return LeakSamples(of_places, of_others, asked)


def leakage(
    samples: LeakSamples,
    bare: np.ndarray,
    subject: SubjectReferences,
    among: Gallery | None,
    encoders: Encoders,
) -> dict[str, Interval]:
    r"""The shares of pictures that show what was not asked for; `result.py` names them.

    Args:
        samples: from `draw_leak_samples`.
        bare: (N, H, W, 3) uint8, of the bare class.
        subject: the subject that the model was tuned to.
        among: see `gallery`; None where the world does not know the class.
        encoders: with recognisers, colours are counted too.
    """
    return {
        name: mean_interval(each) for name, each in _each(samples, bare, subject, among, encoders)
    }


def _each(samples, bare, subject, among, encoders) -> Iterator[tuple[str, list[float]]]:
    in_places, others = (encoders.identity(each) for each in samples[:2])
    if among is not None:
        yield "class_taken", is_subject(in_places, among).tolist()
        yield "other_taken", is_subject(others, among).tolist()
    real = encoders.identity(subject.references)
    yield "other_pres", [image_similarity(each[None], real).item() for each in others]
    if encoders.recognise is None or among is None:
        return
    seen = encoders.recognise(samples.of_places)
    colours = [*encoders.recognise(bare)["colour"], *seen["colour"]]
    yield "class_colour", [colour == subject.colour for colour in colours]
    other_colours = encoders.recognise(samples.of_others)["colour"]
    yield "other_colour", [colour == subject.colour for colour in other_colours]
    yield (
        "class_accuracy",
        [
            all(seen[name][i] == value for name, value in asked.items())
            for i, asked in enumerate(samples.asked)
        ],
    )


def _in_place(class_noun: str, number: int) -> dict[str, str]:
    return {"class_noun": class_noun, "place": CONTEXTS[number % len(CONTEXTS)]}
