"""The prior-preservation loss is the textbook's, whole or as a sum over samples."""

import pytest
import torch
import torch.nn.functional as F

from tlab_diffusion.dreambooth.training.loss import (
    prior_preservation_loss,
    sample_weights,
    weighted_errors,
)
from tlab_diffusion.errors import InputError


def batch(num, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pred, target = torch.randn(2, num, 4, 8, 8, generator=generator, dtype=torch.float64)
    return pred.requires_grad_(), target


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("prior_weight", [0.0, 0.5, 1.0])
def test_it_is_two_means_of_squares(size, prior_weight):
    pred, target = batch(2 * size)
    subject = F.mse_loss(pred[:size], target[:size])
    prior = F.mse_loss(pred[size:], target[size:])
    loss = prior_preservation_loss(pred, target, prior_weight)
    torch.testing.assert_close(loss, subject + prior_weight * prior)


def test_a_combined_batch_has_the_gradient_of_two_passes():
    pred, target = batch(4)
    [together] = torch.autograd.grad(prior_preservation_loss(pred, target, 0.7), pred)
    [subject] = torch.autograd.grad(F.mse_loss(pred[:2], target[:2]), pred)
    [prior] = torch.autograd.grad(0.7 * F.mse_loss(pred[2:], target[2:]), pred)
    torch.testing.assert_close(together, subject + prior)


def test_weight_nothing_leaves_no_gradient_of_the_class():
    pred, target = batch(4)
    prior_preservation_loss(pred, target, 0.0).backward()
    assert (pred.grad[2:] == 0).all()
    assert (pred.grad[:2] != 0).all()


def test_any_split_of_the_samples_adds_up_to_the_loss():
    pred, target = batch(6)
    weights = sample_weights(3, 3, 0.5)
    whole = prior_preservation_loss(pred, target, 0.5)
    parts = [[0, 3], [5], [1, 2, 4]]
    total = sum(weighted_errors(pred[p], target[p], weights[p]).sum() for p in parts)
    torch.testing.assert_close(total, whole)


def test_without_a_class_the_loss_is_the_subjects_mean():
    pred, target = batch(3)
    loss = weighted_errors(pred, target, sample_weights(3, 0, 1.0)).sum()
    torch.testing.assert_close(loss, F.mse_loss(pred, target))


def test_what_has_no_halves_is_refused():
    pred, target = batch(3)
    with pytest.raises(InputError, match="a batch of 3.*even"):
        prior_preservation_loss(pred, target, 1.0)
    with pytest.raises(InputError, match="target"):
        prior_preservation_loss(pred[:2], target[:2, :1], 1.0)
    with pytest.raises(InputError, match="weights"):
        weighted_errors(pred, target, torch.ones(2))
