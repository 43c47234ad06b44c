r"""The training loop, as a generator: the caller draws curves, samples, saves or stops."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tlab_diffusion.diffusion._check import (
    check_alphas_cumprod,
    check_float,
    check_same_shape,
)
from tlab_diffusion.diffusion.losses import diffusion_loss
from tlab_diffusion.errors import InputError


class TrainStep(NamedTuple):
    """What one step of training leaves behind."""

    step: int  # counted from 1
    loss: float
    ema_model: nn.Module  # the averaged model: sample with this one


def ema_update(ema: Sequence[Tensor], params: Sequence[Tensor], decay: float) -> list[Tensor]:
    r"""Exponential moving average: `ema <- decay ema + (1 - decay) params`.

    Args:
        ema: the averages so far.
        params: the current parameters, of the same shapes.
        decay: in [0, 1); 0.999 averages over about the last 1000 steps.

    Returns:
        The new averages.
    """
    _check_decay(decay)
    if len(ema) != len(params):
        raise InputError("ema", got=f"{len(ema)} tensors", expected=f"{len(params)}, as params")
    for old, new in zip(ema, params, strict=True):
        check_same_shape("ema", old, "params", new)
    return [decay * old + (1 - decay) * new.detach() for old, new in zip(ema, params, strict=True)]


def train(
    model: nn.Module,
    batches: Iterable[Tensor],
    alphas_cumprod: Tensor,
    *,
    learning_rate: float = 1e-3,
    ema_decay: float = 0.999,
    prediction_type: str = "epsilon",
    weights: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[TrainStep]:
    r"""Algorithm 1 of arXiv:2006.11239, with AdamW and an average of the weights.

    Each step takes a batch, a random timestep for each sample and fresh noise, and moves the
    model down the gradient of the loss.

    Args:
        model: `model(x_t, t)`, trained in place.
        batches: clean samples (B, ...), one tensor a step; training ends when they do.
        alphas_cumprod: (T,).
        learning_rate: of AdamW.
        ema_decay: of the averaged model; it starts low and rises, so that early averages
            forget the random start.
        prediction_type: "epsilon", "sample" or "v_prediction".
        weights: (T,) weight of each timestep, see `losses`; all ones when left out.
        generator: source of timesteps and noise.

    Yields:
        A `TrainStep` after each step.

    Raises:
        InputError: on a bad argument or batch, or if the loss is not a finite number, with the
            step at which it happened.
    """
    check_alphas_cumprod(alphas_cumprod)
    _check_decay(ema_decay)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    ema_model = copy.deepcopy(model).requires_grad_(False).eval()
    for step, x0 in enumerate(batches, start=1):
        check_float("batch", x0)
        t = torch.randint(len(alphas_cumprod), (len(x0),), generator=generator).to(x0.device)
        noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype).to(x0.device)
        loss = diffusion_loss(
            model, x0, t, noise, alphas_cumprod, prediction_type=prediction_type, weights=weights
        )
        if not torch.isfinite(loss):
            raise InputError(
                "loss",
                got=f"{loss.item()} at step {step}",
                expected="a finite number",
                fix="Look for nan in the batch, or lower the learning rate.",
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average_into(ema_model, model, min(ema_decay, step / (step + 10)))
        yield TrainStep(step, loss.item(), ema_model)


def average_into(ema_model: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged model's parameters one `ema_update` towards the model's, in place."""
    _check_decay(decay)
    for average, parameter in zip(ema_model.parameters(), model.parameters(), strict=True):
        average.lerp_(parameter.detach(), 1 - decay)  # the same sum, in one pass over memory
    for buffer, current in zip(ema_model.buffers(), model.buffers(), strict=True):
        buffer.copy_(current)


def _check_decay(decay: float) -> None:
    if not 0 <= decay < 1:
        raise InputError("decay", got=f"{decay:g}", expected="a number in [0, 1)")
