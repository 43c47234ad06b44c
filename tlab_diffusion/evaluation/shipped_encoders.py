"""The measuring pair: one encoder that compares pictures with words, one that knows a character.

`image_features` and `text_features` are in one space: a picture is near to the captions that are
true of it. `identity_features` are near to each other when two pictures show the same character,
in any place and with any accessory; they tell one member of a class from another.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.networks import (
    HIDDEN,
    WEIGHTS,
    in_batches,
    load_weights,
    new_trunk,
)
from tlab_diffusion.picturebook import FACTORS, IDENTIFIERS
from tlab_diffusion.picturebook.grammar import FILLERS, SYNONYMS

IMAGE_TEXT_FILE = WEIGHTS / "image_text.safetensors"
IDENTITY_FILE = WEIGHTS / "identity.safetensors"
WIDTH = 128
TEXT_LAYERS = 2
MAX_WORDS = 32

# The words of the world, numbered from 2; 0 fills up a caption, 1 is any other word.
PADDING, UNKNOWN = 0, 1
_VALUES = [word for values in FACTORS.values() for value in values for word in value.split()]
_OTHERS = [word for words in SYNONYMS for word in words]
WORDS = {
    word: number
    for number, word in enumerate(sorted({*_VALUES, *_OTHERS, *FILLERS, *IDENTIFIERS}), start=2)
}


def word_numbers(captions: Sequence[str]) -> Tensor:
    r"""Captions as numbers of words: (N, MAX_WORDS) int64; words after the last place are cut.

    Raises:
        InputError: a caption without words, or one that is not a string.
    """
    numbers = torch.full((len(captions), MAX_WORDS), PADDING)
    for row, text in zip(numbers, captions, strict=True):
        if not isinstance(text, str) or not any(map(str.isalnum, text)):
            raise InputError("caption", got=repr(text), expected="a sentence")
        words = "".join(c if c.isalnum() else " " for c in text.lower()).split()[:MAX_WORDS]
        row[: len(words)] = torch.tensor([WORDS.get(word, UNKNOWN) for word in words])
    return numbers


class TextEncoder(nn.Module):
    """A small transformer: numbers of words (B, MAX_WORDS) to (B, WIDTH)."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(len(WORDS) + 2, WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(MAX_WORDS, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH, 4, 2 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, TEXT_LAYERS, enable_nested_tensor=False)
        self.project = nn.Linear(WIDTH, WIDTH)

    def forward(self, numbers: Tensor) -> Tensor:
        longest = int((numbers != PADDING).sum(dim=1).max())
        numbers = numbers[:, :longest]
        padding = numbers == PADDING
        x = self.words(numbers) + self.places[:longest]
        x = self.layers(x, src_key_padding_mask=padding)
        weights = (~padding).float() / (~padding).sum(dim=1, keepdim=True)
        return self.project((x * weights[:, :, None]).sum(dim=1))  # the mean over words


class ImageText(nn.Module):
    """The image-text encoders, with the scale of their cosines (arXiv:2103.00020, Figure 3)."""

    def __init__(self):
        super().__init__()
        self.trunk = new_trunk()
        self.project = nn.Linear(HIDDEN, WIDTH)
        self.text = TextEncoder()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def image(self, x: Tensor) -> Tensor:  # (B, 3, 64, 64) to (B, WIDTH), of length 1
        return F.normalize(self.project(self.trunk(x)).float(), dim=1)

    def caption(self, numbers: Tensor) -> Tensor:  # (B, MAX_WORDS) to (B, WIDTH), of length 1
        return F.normalize(self.text(numbers).float(), dim=1)


class Identity(nn.Module):
    """The image-only encoder: (B, 3, 64, 64) to (B, WIDTH), of length 1.

    It looks at a picture and at its mirror image: references look one way or the other, and a
    picture that looks elsewhere shows the same character.
    """

    def __init__(self):
        super().__init__()
        self.trunk = new_trunk()
        self.project = nn.Linear(HIDDEN, WIDTH)

    def one_way(self, x: Tensor) -> Tensor:
        """The features of pictures as they are: what training compares, at half the cost."""
        return F.normalize(self.project(self.trunk(x)).float(), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.one_way(x) + self.one_way(x.flip(3)), dim=1)


@lru_cache(maxsize=1)
def image_text() -> ImageText:
    """The shipped image-text encoders."""
    return load_weights(ImageText(), IMAGE_TEXT_FILE)


@lru_cache(maxsize=1)
def identity() -> Identity:
    """The shipped image-only encoder."""
    return load_weights(Identity(), IDENTITY_FILE)


def image_features(pictures: np.ndarray, model: ImageText | None = None) -> Tensor:
    r"""What pictures (N, 64, 64, 3) uint8 show, to compare with words: (N, WIDTH), of length 1."""
    return in_batches((model or image_text()).image, pictures)


def texture_features(pictures: np.ndarray, model: ImageText | None = None) -> Tensor:
    r"""How pictures (N, 64, 64, 3) uint8 look, to compare many with many: (N, HIDDEN).

    The layer below `image_features`, as KID takes Inception's last layer but one: it has not yet
    forgotten what captions do not speak of.
    """
    return in_batches((model or image_text()).trunk, pictures)


@torch.inference_mode()
def text_features(captions: Sequence[str], model: ImageText | None = None) -> Tensor:
    r"""What N captions say, to compare with pictures: (N, WIDTH), of length 1."""
    return (model or image_text()).caption(word_numbers(captions))


def identity_features(pictures: np.ndarray, model: Identity | None = None) -> Tensor:
    r"""Who is in pictures (N, 64, 64, 3) uint8: (N, WIDTH), of length 1."""
    return in_batches(model or identity(), pictures)
