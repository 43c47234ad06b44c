"""Whether the gradient flows back from an answer as it does from the right one."""

import torch
from torch import Tensor

from tlab_diffusion.course import runner
from tlab_diffusion.course.answer_check import SEVERAL, agrees

NO_GRADIENT = (
    "The value is right, but no gradient flows back from it, so that nothing could be trained "
    "with it. Return the tensor itself, without `.item()`, `float()` or `.detach()`, and compute "
    "it outside of `torch.no_grad()`."
)
WRONG_GRADIENT = (
    "The value is right, but the gradient that flows back from it is not. Is a part of it cut "
    "off by `.detach()`, `.item()` or `torch.no_grad()`?"
)


def gradient_complaint(got: object, expected: object) -> str | None:
    """Say what is wrong with the gradient of an answer whose values are right, if anything is.

    Only where the right answer has one: it was computed with a network, or with a tensor that
    requires a gradient.
    """
    if isinstance(expected, SEVERAL):
        return next(filter(None, map(gradient_complaint, got, expected)), None)
    if not isinstance(expected, Tensor) or not expected.requires_grad:
        return None
    if not isinstance(got, Tensor) or not got.requires_grad:
        return NO_GRADIENT
    leaves = _leaves(expected)
    right = _gradients(expected, leaves)
    call = runner.call(_gradients, got, leaves)  # a learner's own backward may run there
    same = call.ended and call.error is None and all(map(agrees, call.value, right))
    return None if same else WRONG_GRADIENT


def _gradients(value: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    # Weighted, so that a sum of gradients that is 0 by chance or by symmetry says something.
    weights = torch.linspace(1, 2, value.numel(), dtype=value.dtype).reshape(value.shape)
    found = torch.autograd.grad((value * weights).sum(), leaves, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]


def _leaves(value: Tensor) -> list[Tensor]:
    """The tensors that a value was computed from and whose gradients are asked for."""
    leaves, seen, left = [], set(), [value.grad_fn]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        left += [following for following, _ in node.next_functions]
    return leaves
