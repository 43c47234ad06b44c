r"""The training loop, as a generator: the caller draws curves, samples, saves or stops."""

import copy
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tlab_diffusion.diffusion._check import (
    check_alphas_cumprod,
    check_float,
)
from tlab_diffusion.diffusion.losses import diffusion_loss
from tlab_diffusion.errors import InputError
from tlab_diffusion.training.ema import average_into, check_decay


class TrainStep(NamedTuple):
    """What one step of training leaves behind."""

    step: int  # counted from 1
    loss: float
    ema_model: nn.Module  # the averaged model: sample with this one


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
    check_decay(ema_decay)
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
