"""The convolutional trunk of all shipped encoders and recognisers, and its weight files."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.pictures import SIZE, check_pictures, resized
from tlab_diffusion.files import atomic_write
from tlab_diffusion.pipelines.latents import to_tensor

WEIGHTS = Path(__file__).with_name("weights")
HIDDEN = 256
# Channels, kernel and stride of each convolution: 17 million multiplications a picture in all.
LAYERS = ((32, 4, 2), (64, 3, 2), (96, 3, 2), (96, 3, 1), (128, 3, 2))
BATCH = 256


def new_trunk() -> nn.Sequential:
    r"""An untrained network: pictures (B, 3, 64, 64) in [-1, 1] to (B, HIDDEN), not below 0.

    The last convolution is flattened, not pooled, so that positions are kept: a crown is on top, a
    place is at the rim.
    """
    layers, before = [], 3
    for channels, kernel, stride in LAYERS:
        layers += [nn.Conv2d(before, channels, kernel, stride, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(channels), nn.ReLU()]
        before = channels
    layers += [nn.Flatten(), nn.Linear(before * 4 * 4, HIDDEN, bias=False)]
    return nn.Sequential(*layers, nn.BatchNorm1d(HIDDEN), nn.ReLU())


def save_weights(model: nn.Module, file: Path) -> None:
    """Write a model's tensors in half precision."""
    state = {
        k: v.half().contiguous() for k, v in model.state_dict().items() if v.is_floating_point()
    }
    with atomic_write(file) as draft:
        save_file(state, draft)


def load_weights(model: nn.Module, file: Path) -> nn.Module:
    """Read what `save_weights` wrote into a model of the same shape: float32, in eval mode.

    Raises:
        InputError: if there is no such file, or it is damaged or of another model.
    """
    expected = {k: v.shape for k, v in model.state_dict().items() if v.is_floating_point()}
    fix = "Install the package again, or train it again: tlab pretrain encoders."
    if not file.is_file():
        raise InputError("weights", got=f"no file {file}", expected="the shipped file", fix=fix)
    try:
        state = load_file(file)
    except SafetensorError as error:
        got = f"{file}, which cannot be read ({error})"
        raise InputError("weights", got=got, expected="the shipped file", fix=fix) from error
    if {k: v.shape for k, v in state.items()} != expected:
        got = f"{file}, which holds other tensors"
        raise InputError("weights", got=got, expected="the shipped file", fix=fix)
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def in_batches(model: Callable[[Tensor], Tensor], pictures: np.ndarray) -> Tensor:
    r"""Apply a model to pictures in batches, without gradients.

    Args:
        model: takes (B, 3, 64, 64) in [-1, 1].
        pictures: (N, S, S, 3) uint8; of another side than 64, they are resized.

    Returns:
        The model's results, (N, ...).
    """
    return torch.cat(list(_results(model, resized(check_pictures(pictures), SIZE))))


def _results(model: Callable[[Tensor], Tensor], pictures: np.ndarray) -> Iterator[Tensor]:
    for start in range(0, len(pictures), BATCH):
        yield model(to_tensor(pictures[start : start + BATCH])).float()
