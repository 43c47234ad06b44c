"""Pictures in one row, as a file: what a model drew for the fixed prompts."""

from pathlib import Path

import numpy as np
from PIL import Image

from tlab_diffusion.evaluation.pictures import resized
from tlab_diffusion.files import atomic_write

LARGEST = 256  # pixels a side, of the pictures that are kept


def save_strip(path: Path, pictures: np.ndarray) -> None:
    r"""Write pictures (N, H, W, 3) uint8 in one row, whole or not at all."""
    side = min(pictures.shape[1], LARGEST)
    with atomic_write(path) as draft:
        Image.fromarray(np.concatenate(resized(pictures, side), axis=1)).save(draft, "PNG")


def read_strip(path: Path) -> np.ndarray:
    r"""The square pictures of a row, one by one: (N, H, H, 3) uint8."""
    with Image.open(path) as image:
        return apart(np.asarray(image.convert("RGB")))


def apart(row: np.ndarray) -> np.ndarray:
    r"""Square pictures side by side, (H, N * H, 3), one by one: (N, H, H, 3)."""
    return np.stack(np.split(row, row.shape[1] // len(row), axis=1))
