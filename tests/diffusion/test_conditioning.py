"""The contrastive loss and cross-attention, against torch's own and at their fixed points."""

import math

import pytest
import torch
import torch.nn.functional as F

from tlab_diffusion.diffusion.conditioning import (
    attention_weights,
    contrastive_loss,
    cross_attention,
)
from tlab_diffusion.errors import InputError


def test_features_that_say_nothing_cost_the_logarithm_of_the_batch():
    same = torch.ones(6, 4)
    assert contrastive_loss(same, same).item() == pytest.approx(math.log(6), abs=1e-6)


def test_matching_pairs_cost_little_and_swapped_ones_much():
    pairs = torch.eye(4)
    assert contrastive_loss(pairs, pairs).item() < 1e-4
    assert contrastive_loss(pairs, pairs.roll(1, 0)).item() > 10


def test_the_contrastive_loss_is_two_cross_entropies_of_cosines():
    images, texts = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    cosines = F.cosine_similarity(images[:, None], texts[None], dim=2)
    own = torch.arange(5)
    expected = (F.cross_entropy(cosines / 0.2, own) + F.cross_entropy(cosines.T / 0.2, own)) / 2
    torch.testing.assert_close(contrastive_loss(images, texts, 0.2), expected)
    torch.testing.assert_close(contrastive_loss(3 * images, texts, 0.2), expected)


def test_cross_attention_is_torchs():
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, n, 4, generator=generator) for n in (7, 3))
    value = torch.randn(2, 3, 5, generator=generator)
    expected = F.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(cross_attention(query, key, value), expected)


def test_attention_rows_sum_to_one_and_the_best_key_wins():
    query, key = torch.tensor([[[50.0, 0.0]]]), torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    weights = attention_weights(query, key)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 1))
    assert weights[0, 0, 1] > 0.999


@pytest.mark.parametrize(
    "call",
    [
        lambda: contrastive_loss(torch.ones(3, 2), torch.ones(2, 2)),
        lambda: contrastive_loss(torch.ones(3), torch.ones(3)),
        lambda: contrastive_loss(torch.ones(3, 2), torch.ones(3, 2), 0.0),
        lambda: cross_attention(torch.ones(1, 2, 3), torch.ones(1, 2, 4), torch.ones(1, 2, 4)),
        lambda: cross_attention(torch.ones(2, 3), torch.ones(2, 3), torch.ones(2, 3)),
        lambda: cross_attention(torch.ones(1, 2, 3), torch.ones(1, 4, 3), torch.ones(1, 3, 3)),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError, match="expected"):
        call()
