"""The picture-book world for training: scenes drawn once, chunk by chunk, and kept on disk."""

from functools import partial
from pathlib import Path

import numpy as np

from tlab_diffusion.evaluation.pictures import SIZE, kept
from tlab_diffusion.picturebook import draw_scenes

CHUNK = 4096  # scenes a file: what a kill during drawing can cost


def cached_scenes(folder: Path, num: int, size: int = SIZE, processes: int = 2) -> np.ndarray:
    r"""The pictures of the scenes 0 to num - 1, drawn on the first call and read on the next.

    Args:
        folder: with the files; missing ones are drawn.
        num: how many pictures.
        size: their side, in pixels.
        processes: how many to draw with.

    Returns:
        (num, size, size, 3) uint8.
    """
    pictures = np.empty((num, size, size, 3), np.uint8)
    for start in range(0, num, CHUNK):
        path = folder / f"scenes-{size}-{start}.npy"
        chunk = kept(path, partial(_drawn, start, size, processes))
        pictures[start : start + CHUNK] = chunk[: num - start]
    return pictures


def _drawn(start: int, size: int, processes: int) -> np.ndarray:
    return draw_scenes(range(start, start + CHUNK), size, processes)
