"""The picture-book world for training: scenes drawn once, chunk by chunk, and kept on disk."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tlab_diffusion.picturebook import draw_scenes

SIZE = 64
CHUNK = 4096  # scenes a file: what a kill during drawing can cost
# Seeds from here on are for measuring: no training run draws them.
FIRST_TEST_SEED = 1_000_000_000


def cached_scenes(folder: Path, num: int, processes: int = 2) -> np.ndarray:
    r"""The pictures of the scenes 0 to num - 1, drawn on the first call and read on the next.

    Args:
        folder: where the files lie; missing ones are drawn.
        num: how many pictures.
        processes: how many to draw with.

    Returns:
        (num, 64, 64, 3) uint8.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = np.empty((num, SIZE, SIZE, 3), np.uint8)
    for start in range(0, num, CHUNK):
        path = folder / f"scenes-{start}.npy"
        if not path.exists():
            draft = path.with_suffix(".draft.npy")
            np.save(draft, draw_scenes(range(start, start + CHUNK), SIZE, processes))
            draft.replace(path)
        chunk = np.load(path, allow_pickle=False)
        pictures[start : start + CHUNK] = chunk[: num - start]
    return pictures


def to_tensor(pictures: np.ndarray) -> Tensor:
    r"""Pictures (B, H, W, 3) uint8 to (B, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def psnr(a: Tensor, b: Tensor) -> Tensor:
    r"""Peak signal-to-noise ratio of each pair, in dB; pictures (B, 3, H, W) in [-1, 1].

    `10 log10(4 / mean (a - b)^2)`, for the range is 2 wide; (B,).
    """
    return 10 * (4 / (a - b).square().flatten(1).mean(dim=1)).log10()
