r"""Identity: does a picture show the subject?

It does when its nearest neighbour, in the image-only encoder, is one of the subject's references,
among the references of all subjects and fifty members of the class in the subject's colour. A
picture that repeats a reference is a copy and counts separately: a model that can only copy has not
learned the subject.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.pictures import FIRST_TEST_SEED, render_scenes
from tlab_diffusion.picturebook import (
    CLASSES,
    SUBJECTS,
    Scene,
    random_scene,
    subject_pictures,
    subject_scene,
)
from tlab_diffusion.pipelines.latents import to_tensor

MEMBERS = 50
MEMBER_SEEDS = FIRST_TEST_SEED + 200_000_000
STRANGER_SEEDS = FIRST_TEST_SEED + 210_000_000  # not the seeds of the members

# A picture is a copy of a reference if the root mean square difference of their thumbnails, on the
# scale 0 to 255, is below this. Measured on all subjects: below 6 for a reference that went through
# the autoencoder; below 15 for half of the references moved by 2 pixels or tilted by 4 degrees, and
# for 1 in 80 other poses in the same place; 47 for two references, in different places.
COPY_DISTANCE = 15.0
THUMBNAIL = 16

Encode = Callable[[np.ndarray], Tensor]  # pictures (N, H, W, 3) uint8 to features (N, D)
Recognise = Callable[[np.ndarray], Mapping[str, Sequence[str | None]]]


@dataclass(frozen=True, eq=False)
class SubjectReferences:
    r"""The references of a subject, and what is known of it.

    Args:
        references: its pictures (N, H, W, 3) uint8.
        class_noun: its true class, also where a model was trained with another noun.
        name: one of `SUBJECTS`, or None.
        colour: its own, or None where it is not known.
        places: of the references, where they are known.
    """

    references: np.ndarray
    class_noun: str
    name: str | None = None
    colour: str | None = None
    places: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Side of the references, in pixels."""
        return self.references.shape[1]

    @property
    def of_this_world(self) -> bool:
        """Whether the picture book has its class, so that other members can be drawn."""
        return self.class_noun in CLASSES and self.colour is not None


def picturebook_subject(name: str) -> SubjectReferences:
    r"""One of the picture book's subjects.

    Raises:
        InputError: an unknown subject.
    """
    references, known = np.stack(subject_pictures(name)), SUBJECTS[name]
    return SubjectReferences(references, known.class_noun, name, known.colour, known.places)


def identify_subject(
    references: np.ndarray, class_noun: str, recognise: Recognise | None = None
) -> SubjectReferences:
    r"""Find out what is known of a subject; the picture book's are recognised by their pictures.

    Args:
        references: (N, H, W, 3) uint8, with N from 1 up.
        class_noun: what it is.
        recognise: reads colour and places of a new subject off its pictures.

    Raises:
        InputError: no pictures, or an empty class noun.
    """
    references = np.asarray(references)
    if references.ndim != 4 or not len(references):
        got = str(references.shape)
        raise InputError("references", got=got, expected="(N, H, W, 3), with N from 1 up")
    if not class_noun:
        raise InputError("class_noun", got=repr(class_noun), expected="a word, such as robot")
    class_noun = class_noun.lower()  # as tokenizers read it
    for name, each in SUBJECTS.items():
        if each.class_noun == class_noun:
            known = picturebook_subject(name)
            if bool(copies(references, known.references).all()):
                return SubjectReferences(references, class_noun, name, known.colour, known.places)
    if class_noun not in CLASSES or recognise is None:
        return SubjectReferences(references, class_noun)
    seen = recognise(references)
    colour = Counter(seen["colour"]).most_common(1)[0][0]
    return SubjectReferences(references, class_noun, None, colour, tuple(seen["place"]))


def copies(pictures: np.ndarray, references: np.ndarray) -> Tensor:
    r"""Whether each picture is a copy of a reference: same place, same pose.

    Args:
        pictures: (N, H, W, 3) uint8.
        references: (M, H, W, 3) uint8.

    Returns:
        (N,) bool.
    """
    distances = torch.cdist(_thumbnails(pictures), _thumbnails(references))  # (N, M)
    return distances.amin(dim=1) < COPY_DISTANCE


def _thumbnails(pictures: np.ndarray) -> Tensor:
    """Pictures as points whose distance is the root mean square of 0 to 255: (N, D)."""
    small = F.adaptive_avg_pool2d(127.5 * to_tensor(pictures), THUMBNAIL).flatten(1)
    return small / small.shape[1] ** 0.5


class Gallery(NamedTuple):
    """Candidates for the nearest neighbour: features (M, D), and which are the subject's, (M,)."""

    features: Tensor
    of_subject: Tensor


def gallery(subject: SubjectReferences, encode: Encode) -> Gallery:
    r"""The references of all subjects, and members of the subject's class in its colour."""
    others = [subject_pictures(name, subject.size) for name in SUBJECTS if name != subject.name]
    members = render_scenes(
        [_relative(subject, MEMBER_SEEDS + i) for i in range(MEMBERS)], subject.size
    )
    features = encode(np.concatenate([subject.references, *others, members]))
    of_subject = torch.arange(len(features), device=features.device) < len(subject.references)
    return Gallery(F.normalize(features, dim=1), of_subject)


def is_subject(features: Tensor, among: Gallery) -> Tensor:
    r"""Whether each picture's nearest neighbour is the subject: (N, D) to (N,) bool."""
    nearest = (features @ among.features.T).argmax(dim=1)  # the length of a row does not matter
    return among.of_subject[nearest]


def strangers(subject: SubjectReferences, asked: Sequence[Mapping[str, str]]) -> np.ndarray:
    r"""Other members of the class in the subject's colour, with the factors that were asked for."""
    seeds = range(STRANGER_SEEDS, STRANGER_SEEDS + len(asked))
    pairs = zip(seeds, asked, strict=True)
    return render_scenes([_relative(subject, seed, **each) for seed, each in pairs], subject.size)


def perfect(subject: SubjectReferences, asked: Sequence[Mapping[str, str]]) -> np.ndarray:
    r"""The true subject, drawn by the picture book with the factors that were asked for."""
    # The first seeds are those of the references.
    seeds = range(len(subject.references), len(subject.references) + len(asked))
    pairs = zip(seeds, asked, strict=True)
    return render_scenes(
        [subject_scene(subject.name, seed, **each) for seed, each in pairs], subject.size
    )


def _relative(subject: SubjectReferences, seed: int, **factors: str) -> Scene:
    """A member of the class in the style of the references: plain, mostly from the front."""
    ordinary = {
        "class_noun": subject.class_noun,
        "colour": subject.colour,
        "pattern": "plain",
        "style": "cartoon",
        "view": "side" if seed % 5 == 2 else "front",
    }
    return random_scene(seed, held_out=None, **(ordinary | factors))
