"""The picture-book world for training: scenes drawn once, chunk by chunk, and kept on disk."""

from pathlib import Path

import numpy as np

from tlab_diffusion.evaluation.pictures import SIZE
from tlab_diffusion.picturebook import draw_scenes

CHUNK = 4096  # scenes a file: what a kill during drawing can cost


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
