"""The picture-book world for training: scenes drawn once, chunk by chunk, and kept on disk."""

from functools import partial
from pathlib import Path

import numpy as np

from tlab_diffusion.evaluation.pictures import SIZE, kept
from tlab_diffusion.picturebook import draw_scenes

CHUNK = 4096  # scenes a file: what a kill during drawing can cost


def cached_scenes(folder: Path, num: int, processes: int = 2) -> np.ndarray:
    r"""The pictures of the scenes 0 to num - 1, drawn on the first call and read on the next.

    Args:
        folder: with the files; missing ones are drawn.
        num: how many pictures.
        processes: how many to draw with.

    Returns:
        (num, 64, 64, 3) uint8.
    """
    pictures = np.empty((num, SIZE, SIZE, 3), np.uint8)
    for start in range(0, num, CHUNK):
        path = folder / f"scenes-{start}.npy"
        chunk = kept(path, partial(_drawn, start, processes))
        pictures[start : start + CHUNK] = chunk[: num - start]
    return pictures


def _drawn(start: int, processes: int) -> np.ndarray:
    return draw_scenes(range(start, start + CHUNK), SIZE, processes)
