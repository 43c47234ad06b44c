"""Checks of arguments: every function of this package refuses bad input in one clear line."""

import torch
from torch import Tensor

from tlab_diffusion.errors import InputError

INTEGER_TYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_count(name: str, value: int) -> None:
    """Refuse a count that is not a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(name, got=repr(value), expected="a whole number of at least 1")


def check_fraction(name: str, value: float) -> None:
    """Refuse a number outside the open interval (0, 1)."""
    if not 0 < value < 1:
        raise InputError(name, got=f"{value:g}", expected="a number between 0 and 1, both left out")


def check_float(name: str, x: Tensor) -> None:
    """Refuse anything but a tensor of floating-point numbers."""
    if not isinstance(x, Tensor):
        raise InputError(
            name, got=type(x).__name__, expected="a torch tensor", fix="Use torch.as_tensor(...)."
        )
    if not x.is_floating_point():
        raise InputError(
            name,
            got=f"dtype {x.dtype}",
            expected="floating-point numbers",
            fix="Convert with .float(), and scale pictures to [-1, 1].",
        )


def check_same_shape(name: str, x: Tensor, other_name: str, other: Tensor) -> None:
    """Refuse two float tensors of different shapes (broadcasting would hide the mistake)."""
    check_float(name, x)
    check_float(other_name, other)
    if x.shape != other.shape:
        raise InputError(
            name, got=f"shape {tuple(x.shape)}", expected=f"{tuple(other.shape)}, as {other_name}"
        )


def check_betas(betas: Tensor, name: str = "betas") -> None:
    """Refuse a schedule that is not (T,) with every beta in (0, 1]; 1 is zero terminal SNR."""
    _check_schedule(name, betas)
    if not bool(((betas > 0) & (betas <= 1)).all()):
        raise InputError(
            name,
            got=f"values from {betas.min():g} to {betas.max():g}",
            expected="0 < beta <= 1 for each",
        )


def check_alpha_bar(name: str, values: Tensor) -> None:
    """Refuse values of alpha_bar that are not (N,) in [0, 1]; their order does not matter."""
    _check_schedule(name, values)
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise InputError(
            name,
            got=f"values from {values.min():g} to {values.max():g}",
            expected="0 <= alpha_bar <= 1 for each",
        )


def check_alphas_cumprod(alphas_cumprod: Tensor) -> None:
    """Refuse a schedule that is not (T,) in [0, 1], or that rises, as betas do."""
    check_alpha_bar("alphas_cumprod", alphas_cumprod)
    if bool((alphas_cumprod.diff() > 0).any()):
        raise InputError(
            "alphas_cumprod",
            got="values that rise",
            expected="values that fall with t",
            fix="Are these the betas? alphas_cumprod(betas) makes the product.",
        )


def check_per_timestep(name: str, values: Tensor, num_train_timesteps: int) -> None:
    """Refuse numbers that are not (T,), one for each timestep."""
    check_float(name, values)
    if values.shape != (num_train_timesteps,):
        raise InputError(
            name, got=f"shape {tuple(values.shape)}", expected=f"({num_train_timesteps},)"
        )


def check_timesteps(
    t: Tensor, x: Tensor, num_train_timesteps: int, *, lowest: int = 0, name: str = "t"
) -> None:
    """Refuse timesteps that are not (B,) integers from `lowest` to T - 1, one a sample of x."""
    if not isinstance(t, Tensor) or t.dtype not in INTEGER_TYPES:
        got = f"dtype {t.dtype}" if isinstance(t, Tensor) else type(t).__name__
        raise InputError(
            name, got=got, expected="a tensor of integers", fix="Use torch.tensor([...])."
        )
    if x.ndim == 0 or t.shape != x.shape[:1]:
        raise InputError(
            name,
            got=f"shape {tuple(t.shape)}",
            expected=f"{tuple(x.shape[:1])}, one timestep for each sample",
        )
    if t.numel() and (int(t.min()) < lowest or int(t.max()) >= num_train_timesteps):
        raise InputError(
            name,
            got=f"timesteps from {int(t.min())} to {int(t.max())}",
            expected=f"{lowest} to {num_train_timesteps - 1}",
            fix="Timesteps are counted from 0.",
        )


def check_choice(name: str, value: str, choices) -> None:
    """Refuse a word that is not one of the choices."""
    if value not in choices:
        raise InputError(name, got=repr(value), expected="one of " + ", ".join(map(repr, choices)))


def _check_schedule(name: str, values: Tensor) -> None:
    check_float(name, values)
    if values.ndim != 1 or len(values) == 0:
        raise InputError(name, got=f"shape {tuple(values.shape)}", expected="(T,) with T >= 1")
