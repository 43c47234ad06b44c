r"""Exponential moving averages of weights (EMA)."""

from collections.abc import Sequence

from torch import Tensor, nn

from tlab_diffusion.diffusion._check import check_same_shape
from tlab_diffusion.errors import InputError


def ema_update(ema: Sequence[Tensor], params: Sequence[Tensor], decay: float) -> list[Tensor]:
    r"""Exponential moving average: `ema <- decay ema + (1 - decay) params`.

    Args:
        ema: the averages so far.
        params: the current parameters, of the same shapes.
        decay: in [0, 1); 0.999 averages over about the last 1000 steps.

    Returns:
        The new averages.
    """
    check_decay(decay)
    if len(ema) != len(params):
        raise InputError("ema", got=f"{len(ema)} tensors", expected=f"{len(params)}, as params")
    for old, new in zip(ema, params, strict=True):
        check_same_shape("ema", old, "params", new)
    return [decay * old + (1 - decay) * new.detach() for old, new in zip(ema, params, strict=True)]


def decay_at(step: int, ema_decay: float) -> float:
    r"""The decay at a step, from 1: low at first, so that the average forgets the start."""
    return min(ema_decay, step / (step + 10))


def average_into(ema_model: nn.Module, model: nn.Module, decay: float) -> None:
    r"""Move the averaged model's parameters one `ema_update` towards the model's, in place.

    Buffers are copied. Parameters that both models share stay as they are.
    """
    check_decay(decay)
    for average, parameter in zip(ema_model.parameters(), model.parameters(), strict=True):
        if average is not parameter:
            average.lerp_(parameter.detach(), 1 - decay)  # the same sum, in one pass over memory
    for buffer, current in zip(ema_model.buffers(), model.buffers(), strict=True):
        buffer.copy_(current)


def check_decay(decay: float) -> None:
    if not 0 <= decay < 1:
        raise InputError("decay", got=f"{decay:g}", expected="a number in [0, 1)")
