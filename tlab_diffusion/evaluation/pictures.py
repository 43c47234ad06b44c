"""Pictures to measure with: scenes that no training sees."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tlab_diffusion.errors import InputError
from tlab_diffusion.files import atomic_write, file_lock
from tlab_diffusion.picturebook import SUBJECTS, Scene, draw_scenes, render, subject_pictures

# Texts and a seed to pictures (N, H, W, 3) uint8, one for each text.
Sampler = Callable[[Sequence[str], int], np.ndarray]

SIZE = 64  # the side at which the shipped networks look at pictures
# Seeds from here on are for evaluation; no training run uses them.
FIRST_TEST_SEED = 1_000_000_000


def check_pictures(pictures: object) -> np.ndarray:
    """Return square pictures as one array (N, S, S, 3) uint8, or raise InputError."""
    try:
        array = np.asarray(pictures)
    except ValueError:  # of different sizes
        array = np.empty(0)
    square = array.ndim == 4 and array.shape[1] == array.shape[2] and array.shape[3] == 3
    if array.dtype != np.uint8 or not square or 0 in array.shape:
        raise InputError(
            "pictures",
            got=f"{array.dtype} of shape {array.shape}",
            expected="uint8 of shape (N, S, S, 3), with N and S from 1 up",
        )
    return array


def resized(pictures: np.ndarray, side: int) -> np.ndarray:
    r"""Square pictures (N, S, S, 3) uint8 with another side: (N, side, side, 3)."""
    if pictures.shape[1] == side:
        return pictures
    return np.stack([np.asarray(Image.fromarray(x).resize((side, side))) for x in pictures])


def kept(path: Path, compute: Callable[[], np.ndarray]) -> np.ndarray:
    r"""Load an array from its file (.npy), or compute it and write the file.

    Of several processes, one computes the array and the others wait and read it.
    """
    with file_lock(path):
        if not path.exists():
            array = compute()
            with atomic_write(path) as draft, draft.open("wb") as file:
                np.save(file, array)
    return np.load(path, allow_pickle=False)


def sample_batch(sample: Sampler, texts: Sequence[str], seed: int) -> np.ndarray:
    r"""Draw one picture for each text: (N, H, W, 3) uint8.

    Raises:
        InputError: the sampler gave another number of pictures.
    """
    pictures = np.asarray(sample(list(texts), seed))
    if len(pictures) != len(texts):
        got, expected = f"{len(pictures)} pictures", f"{len(texts)}, one for each prompt"
        raise InputError("sample", got=got, expected=expected)
    return pictures


def sample_all(sample: Sampler, texts: Sequence[str], seed: int, batch: int) -> np.ndarray:
    r"""Draw one picture for each text, at most `batch` in one call, each with its own seed."""
    starts = range(0, len(texts), batch)
    return np.concatenate(
        [sample_batch(sample, texts[start : start + batch], seed + start) for start in starts]
    )


def render_scenes(scenes: Sequence[Scene], size: int = SIZE) -> np.ndarray:
    r"""Render scenes of the picture book: (N, size, size, 3) uint8."""
    return np.stack([render(scene, size) for scene in scenes])


def unseen_pictures(num_scenes: int = 256, size: int = SIZE) -> dict[str, np.ndarray]:
    """Pictures that no training sees: scenes of test seeds, and all subjects' references."""
    subjects = np.concatenate([np.stack(subject_pictures(name, size)) for name in SUBJECTS])
    seeds = range(FIRST_TEST_SEED, FIRST_TEST_SEED + num_scenes)
    return {"scenes": draw_scenes(seeds, size, processes=1, progress=False), "subjects": subjects}
