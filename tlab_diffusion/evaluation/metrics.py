"""Metrics: functions of features, and of the factors that recognisers read."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tlab_diffusion.errors import InputError


class Kid(NamedTuple):
    """A kernel Inception distance and its standard error."""

    value: float
    error: float


def image_similarity(generated: Tensor, real: Tensor) -> Tensor:
    r"""Subject fidelity: the mean cosine of all pairs (section 4.2, arXiv:2208.12242).

    Args:
        generated: features (N, D) of generated pictures, of any length.
        real: features (M, D) of real ones.

    Returns:
        a scalar from -1 to 1.

    Raises:
        InputError: no rows, or rows of different size.
    """
    _check_features(generated, real)
    return (F.normalize(generated, dim=1) @ F.normalize(real, dim=1).T).mean()


def prompt_similarity(image_features: Tensor, text_features: Tensor) -> Tensor:
    r"""Prompt fidelity: the mean cosine of each picture with its own prompt.

    Args:
        image_features, text_features: (N, D), pair by pair, of any length.

    Returns:
        a scalar from -1 to 1.

    Raises:
        InputError: no rows, or not as many of one as of the other.
    """
    _check_features(image_features, text_features)
    if len(image_features) != len(text_features):
        got = f"{len(image_features)} pictures and {len(text_features)} prompts"
        raise InputError("features", got=got, expected="one prompt for each picture")
    return F.cosine_similarity(image_features, text_features, dim=1).mean()


def diversity(features: Tensor) -> Tensor:
    r"""How much pictures differ: the mean of 1 - cosine over distinct pairs.

    Args:
        features: (N, D) of pictures of one prompt, N from 2 up.

    Returns:
        a scalar; 0 where all are alike.

    Raises:
        InputError: fewer than two rows.
    """
    _check_features(features, features)
    if len(features) < 2:
        raise InputError("features", got="1 picture", expected="2 or more, to compare")
    unit = F.normalize(features, dim=1)
    cosine = unit @ unit.T
    pairs = len(features) * (len(features) - 1)
    return 1 - (cosine.sum() - cosine.diagonal().sum()) / pairs


def kid(x: Tensor, y: Tensor, blocks: int = 10) -> Kid:
    r"""Kernel Inception distance, the squared MMD with k(a, b) = (a b / D + 1)^3.

    Each of `blocks` parts of x meets its part of y in the unbiased estimate (Eq. 4 and section 4,
    arXiv:1801.01401); that of the blocks' mean needs no other assumption for its error. It may
    come out below 0 where the distributions are the same.

    Args:
        x, y: features (N, D) and (M, D); with rows in random order.
        blocks: how many parts, from 2 up, of 2 rows or more each.

    Returns:
        the mean over blocks, and its standard error.

    Raises:
        InputError: rows of different size, or too few for the blocks.
    """
    _check_features(x, y)
    if blocks < 2 or min(len(x), len(y)) < 2 * blocks:
        got = f"{len(x)} and {len(y)} rows in {blocks} blocks"
        raise InputError("kid", got=got, expected="2 blocks or more, of 2 rows or more each")
    parts = zip(x.double().tensor_split(blocks), y.double().tensor_split(blocks), strict=True)
    estimates = torch.stack([_squared_mmd(a, b) for a, b in parts])
    return Kid(estimates.mean().item(), (estimates.std() / math.sqrt(blocks)).item())


def _squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    return _mean_apart(_kernel(x, x)) + _mean_apart(_kernel(y, y)) - 2 * _kernel(x, y).mean()


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mean_apart(kernel: Tensor) -> Tensor:
    """The mean without the diagonal, where each row meets itself."""
    n = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (n * (n - 1))


def entropy_share(values: Sequence[str | None], world: Mapping[str | None, float]) -> float:
    r"""How evenly values spread: their entropy, as a share of the world's own.

    Args:
        values: what N pictures show of a factor.
        world: how often the world shows each value (any positive weights).

    Returns:
        0 where all are the same, 1 where they spread as the world does; more, if more evenly.

    Raises:
        InputError: no values, or a world with fewer than two.
    """
    if not values:
        raise InputError("values", got="none", expected="1 or more")
    if sum(weight > 0 for weight in world.values()) < 2:
        raise InputError("world", got=str(dict(world)), expected="2 values or more")
    return entropy(list(Counter(values).values())) / entropy(list(world.values()))


def entropy(weights: Sequence[float]) -> float:
    r"""Shannon's entropy of a distribution, - sum p log p, in nats; weights need not sum to 1."""
    total = sum(weights)
    return sum(w / total * math.log(total / w) for w in weights if w > 0)


def _check_features(a: Tensor, b: Tensor) -> None:
    for features in (a, b):
        if features.ndim != 2 or not len(features):
            raise InputError("features", got=str(tuple(features.shape)), expected="(N, D), N >= 1")
    if a.shape[1] != b.shape[1]:
        got = f"rows of {a.shape[1]} and of {b.shape[1]}"
        raise InputError("features", got=got, expected="rows of the same size")
