r"""Classifier-free guidance: one model, evaluated with and without its condition."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tlab_diffusion.diffusion._check import check_same_shape
from tlab_diffusion.diffusion.losses import Denoiser
from tlab_diffusion.errors import InputError


def cfg(eps_uncond: Tensor, eps_cond: Tensor, guidance_scale: float | Tensor) -> Tensor:
    r"""`eps = eps_uncond + guidance_scale (eps_cond - eps_uncond)`.

    Eq. 6 of arXiv:2207.12598 with `guidance_scale = 1 + w`: 1 is the conditional model alone,
    0 the unconditional one, more than 1 extrapolates beyond the conditional one.

    Args:
        eps_uncond: (B, ...), prediction without the condition.
        eps_cond: prediction with it, shaped like `eps_uncond`.
        guidance_scale: any number, or one a sample, (B, 1, ..., 1); 7.5 is common for Stable
            Diffusion.

    Returns:
        The guided prediction, shaped like `eps_cond`.
    """
    check_same_shape("eps_cond", eps_cond, "eps_uncond", eps_uncond)
    return eps_uncond + guidance_scale * (eps_cond - eps_uncond)


def guided(
    model: Callable[[Tensor, Tensor, Tensor], Tensor],
    condition: Tensor,
    null_condition: Tensor,
    guidance_scale: float | Tensor,
) -> Denoiser:
    r"""Wrap a conditional model `model(x_t, t, condition)` into a guided denoiser `model(x_t, t)`.

    Both predictions are made in one batch, the unconditional half first.

    Args:
        model: predicts epsilon (or v: guidance is linear in either).
        condition: (B, ...), one a sample: embeddings, or labels as integers.
        null_condition: what stands for no condition, shaped like `condition`.
        guidance_scale: see `cfg`.
    """
    if null_condition.shape != condition.shape:  # integers, where the condition is a label
        raise InputError(
            "null_condition",
            got=f"shape {tuple(null_condition.shape)}",
            expected=f"{tuple(condition.shape)}, as condition",
        )
    conditions = torch.cat([null_condition, condition])

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        both = model(torch.cat([x_t, x_t]), torch.cat([t, t]), conditions)
        uncond, cond = both.chunk(2)
        return cfg(uncond, cond, guidance_scale)

    return denoiser


def drop_captions(captions: Sequence[str], p: float, generator: torch.Generator) -> list[str]:
    r"""Replace each caption by "" with probability p, independently (Algorithm 1,
    arXiv:2207.12598), so that the model also learns to predict without a condition.

    Args:
        captions: B captions.
        p: probability in [0, 1]; 0.1 is common.
        generator: source of the random numbers, on the CPU.

    Returns:
        B captions.
    """
    if not 0 <= p <= 1:
        raise InputError("p", got=f"{p:g}", expected="a probability in [0, 1]")
    dropped = torch.rand(len(captions), generator=generator) < p
    return ["" if drop else text for text, drop in zip(captions, dropped.tolist(), strict=True)]
