r"""The training loop of the lessons, as a generator: the caller plots, samples, saves or stops."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tlab_diffusion.diffusion._check import check_alphas_cumprod, check_float
from tlab_diffusion.diffusion.losses import diffusion_loss
from tlab_diffusion.errors import InputError
from tlab_diffusion.training.trainer import Trainer


class TrainStep(NamedTuple):
    """The result of one training step."""

    step: int  # counted from 1
    loss: float
    ema_model: nn.Module  # the averaged model, in eval mode: sample with this one


def train(
    model: nn.Module,
    batches: Iterable[Tensor | Sequence[Tensor]],
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
        model: `model(x_t, t)`, or `model(x_t, t, condition)` where the batches have a condition;
            trained in place. It is in train mode during a step, in eval mode between steps, and
            afterwards in the mode that it came in.
        batches: one a step, moved to the model's device; training ends when they do. A batch is
            clean samples (B, ...), or a pair: samples, and the condition of each (B, ...).
        alphas_cumprod: (T,).
        learning_rate: of AdamW.
        ema_decay: of the averaged model, see `ema.decay_at`.
        prediction_type: "epsilon", "sample" or "v_prediction".
        weights: (T,) weight of each timestep, see `losses`; all ones when left out.
        generator: source of timesteps and noise, on the CPU.

    Yields:
        A `TrainStep` after each step.

    Raises:
        InputError: on a bad argument or batch, or if the loss is NaN or infinite, with the step at
            which it happened.
    """
    check_alphas_cumprod(alphas_cumprod)
    loss_of = partial(diffusion_loss, prediction_type=prediction_type, weights=weights)

    def loss_terms(model: Callable, tensors: list[Tensor]) -> Tensor:
        x0, t, noise, *condition = tensors

        def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
            return model(x_t, t, *condition)

        return loss_of(denoiser, x0, t, noise, alphas_cumprod)[None]

    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    mode = model.training
    trainer = Trainer(model, optimizer, ema_decay=ema_decay)
    try:
        for batch in batches:
            x0, condition = _split(batch)
            t = torch.randint(len(alphas_cumprod), (len(x0),), generator=generator)
            noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
            tensors = [each.to(trainer.device) for each in (x0, t, noise, *condition)]
            [loss] = trainer.step(loss_terms, [tensors])
            yield TrainStep(trainer.global_step, loss, trainer.ema_model)
    finally:
        model.train(mode)


def _split(batch: Tensor | Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Returns the clean samples and a list of their condition, empty if there is none."""
    is_pair = isinstance(batch, tuple | list) and len(batch) == 2
    x0, *condition = batch if is_pair else [batch]
    check_float("batch", x0)
    for each in condition:
        if not isinstance(each, Tensor) or each.shape[:1] != x0.shape[:1]:
            got = f"shape {tuple(each.shape)}" if isinstance(each, Tensor) else type(each).__name__
            expected = f"a tensor of {len(x0)} conditions, one a sample"
            raise InputError("condition", got=got, expected=expected)
    return x0, condition
