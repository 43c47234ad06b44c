r"""The DreamBooth loss: the subject's pictures, and lambda times the class's (arXiv:2208.12242).

`E[ w_t ||target - pred||^2 ] + lambda E[ w_t' ||target' - pred'||^2 ]`. Each expectation is a mean
over its half of the batch, with its own timesteps and weights. `loss_terms` writes it as a sum over
samples, so a step can be computed in parts, in any order and by any number of processes.
"""

import torch
from torch import Tensor

from tlab_diffusion.diffusion._check import check_same_shape
from tlab_diffusion.errors import InputError


def prior_preservation_loss(pred: Tensor, target: Tensor, prior_weight: float) -> Tensor:
    r"""The loss of a batch whose first half is of the subject and second half of its class.

    Args:
        pred: (2B, ...), the model's.
        target: shaped like `pred`.
        prior_weight: lambda.

    Returns:
        A scalar.

    Raises:
        InputError: on shapes that differ, or a batch of odd size.
    """
    if len(pred) % 2 or not len(pred):
        got = f"a batch of {len(pred)}"
        raise InputError("pred", got=got, expected="an even number: subject first, then class")
    half = len(pred) // 2
    is_class = torch.arange(len(pred)) // half
    return loss_terms(pred, target, sample_weights(half, half, prior_weight), is_class).sum()


def sample_weights(num_subject: int, num_class: int, prior_weight: float) -> Tensor:
    r"""How much each sample of a batch adds to the loss: 1 / B, and lambda / B' in the class half.

    Returns:
        (num_subject + num_class,).
    """
    subject = torch.full((num_subject,), 1 / max(num_subject, 1))
    return torch.cat([subject, torch.full((num_class,), prior_weight / max(num_class, 1))])


def weighted_errors(pred: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    r"""Each sample's mean squared error times its weight: (B,); their sum is the loss.

    Args:
        pred: (B, ...), the model's.
        target: shaped like `pred`.
        weights: (B,), see `sample_weights`.
    """
    check_same_shape("target", target, "pred", pred)
    if weights.shape != pred.shape[:1]:
        raise InputError("weights", got=f"shape {tuple(weights.shape)}", expected=f"({len(pred)},)")
    return weights.to(pred) * (pred - target).square().flatten(1).mean(dim=1)


def loss_terms(pred: Tensor, target: Tensor, weights: Tensor, is_class: Tensor) -> Tensor:
    r"""What some samples add to the two terms of the loss; gradients flow to `pred`.

    Args:
        pred, target, weights: see `weighted_errors`.
        is_class: (B,) integers, 0 for samples of the subject, 1 for samples of its class.

    Returns:
        (2,): of the subject, and of the class. Summed over all samples of a step, their sum is the
        loss.
    """
    errors = weighted_errors(pred, target, weights)
    return errors.new_zeros(2).index_add(0, is_class.to(errors.device), errors)
