r"""How words reach pictures: the contrastive loss that ties the two, and cross-attention."""

import math

import torch.nn.functional as F
from torch import Tensor

from tlab_diffusion.diffusion._check import check_float, check_same_shape
from tlab_diffusion.errors import InputError


def contrastive_loss(
    image_features: Tensor, text_features: Tensor, temperature: float | Tensor = 0.07
) -> Tensor:
    r"""The loss of CLIP: picture i and caption i belong together, all others do not.

    `logits[i, j] = cos(image_i, text_j) / temperature`; the mean of two cross-entropies, of every
    picture among the captions and of every caption among the pictures (Figure 3,
    arXiv:2103.00020).

    Args:
        image_features: (B, D), of any length.
        text_features: (B, D), pair by pair.
        temperature: above 0, a number or a learned scalar; small ones punish near misses harder.

    Returns:
        A scalar; log B where features say nothing.

    Raises:
        InputError: on features of different shapes, or a temperature not above 0.
    """
    check_same_shape("text_features", text_features, "image_features", image_features)
    if image_features.ndim != 2:
        got = f"shape {tuple(image_features.shape)}"
        raise InputError("image_features", got=got, expected="(B, D)")
    if not temperature > 0:
        raise InputError("temperature", got=f"{temperature:g}", expected="a number above 0")
    images, texts = F.normalize(image_features, dim=1), F.normalize(text_features, dim=1)
    logits = images @ texts.T / temperature
    own = logits.diagonal()
    of_images, of_texts = logits.logsumexp(dim=1) - own, logits.logsumexp(dim=0) - own
    return (of_images.mean() + of_texts.mean()) / 2


def cross_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    r"""`softmax(query key^T / sqrt(D)) value` (Eq. 1, arXiv:1706.03762).

    Places ask, words answer: each place of a picture gets a mean of the words' values, weighted by
    how well its query fits their keys.

    Args:
        query: (B, N, D), one for each of N places.
        key: (B, M, D), one for each of M tokens.
        value: (B, M, E), likewise.

    Returns:
        (B, N, E).

    Raises:
        InputError: on shapes that do not fit together.
    """
    return attention_weights(query, key) @ _check_values(value, key)


def attention_weights(query: Tensor, key: Tensor) -> Tensor:
    r"""`softmax(query key^T / sqrt(D))`: how much each place looks at each token.

    Args:
        query: (B, N, D).
        key: (B, M, D).

    Returns:
        (B, N, M); each row sums to 1.
    """
    check_float("query", query)
    check_float("key", key)
    batch, _, width = query.shape if query.ndim == 3 else (None, None, None)
    if query.ndim != 3 or key.ndim != 3 or (len(key), key.shape[2]) != (batch, width):
        raise InputError(
            "query and key",
            got=f"shapes {tuple(query.shape)} and {tuple(key.shape)}",
            expected="(B, N, D) and (B, M, D)",
        )
    return (query @ key.mT / math.sqrt(width)).softmax(dim=-1)


def _check_values(value: Tensor, key: Tensor) -> Tensor:
    check_float("value", value)
    if value.ndim != 3 or value.shape[:2] != key.shape[:2]:
        batch, tokens = key.shape[:2]
        raise InputError(
            "value", got=f"shape {tuple(value.shape)}", expected=f"({batch}, {tokens}, E)"
        )
    return value
