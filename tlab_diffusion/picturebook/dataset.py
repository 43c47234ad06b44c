"""Pictures for training: many scenes at once, and an endless data set."""

from collections.abc import Iterable, Iterator
from random import Random

import numpy as np

from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook.grammar import caption, scene_from_caption
from tlab_diffusion.picturebook.render import check_size, render
from tlab_diffusion.picturebook.scene import check_seed, random_scene
from tlab_diffusion.picturebook.subjects import subject_scenes

CHUNK = 32  # scenes that a process draws before it reports back


def draw_scenes(
    seeds: Iterable[int], size: int = 64, processes: int = 2, progress: bool = True
) -> np.ndarray:
    r"""Draws the random scene of every seed.

    Args:
        seeds: integers >= 0; `random_scene(seed)` says what each picture shows.
        size: width and height in pixels.
        processes: how many to draw with; the pictures do not depend on it. With more than 1, a
            script must call this under `if __name__ == "__main__":`, as always in Python.
        progress: shows a bar with rate and estimate.

    Returns:
        (N, size, size, 3) uint8.

    Raises:
        InputError: a bad seed, size or number of processes.
    """
    # Loaded here, so that the grammar can be used without them.
    from multiprocessing import get_context

    from tqdm.auto import tqdm

    seeds = [check_seed(seed) for seed in seeds]
    check_size(size)
    _check_count(processes, "processes")
    pictures = np.empty((len(seeds), size, size, 3), np.uint8)
    jobs = [(seeds[i : i + CHUNK], size) for i in range(0, len(seeds), CHUNK)]
    with tqdm(total=len(seeds), unit="scene", disable=not progress) as bar:
        if processes == 1 or len(jobs) < 2:
            _collect(map(_draw_chunk, jobs), pictures, bar)
        else:
            # Fresh processes: a fork of one that runs threads (torch, a notebook) may hang.
            with get_context("spawn").Pool(processes) as pool:
                _collect(pool.imap(_draw_chunk, jobs), pictures, bar)
    return pictures


def _check_count(count: object, name: str) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InputError(name, got=repr(count), expected="an integer from 1 up")


def _draw_chunk(job: tuple[list[int], int]) -> np.ndarray:
    seeds, size = job
    return np.stack([render(random_scene(seed), size) for seed in seeds])


def _collect(chunks: Iterator[np.ndarray], pictures: np.ndarray, bar) -> None:
    start = 0
    for chunk in chunks:
        pictures[start : start + len(chunk)] = chunk
        start += len(chunk)
        bar.update(len(chunk))


class PicturebookDataset:
    r"""Captioned pictures, each a function of (seed, index); fits `torch.utils.data.DataLoader`.

    Args:
        length: number of pictures.
        seed: another seed gives other pictures.
        size: width and height in pixels.

    Raises:
        InputError: a bad length, seed or size.
    """

    def __init__(self, length: int, seed: int = 0, size: int = 64):
        _check_count(length, "length")
        check_size(size)
        self.length, self.seed, self.size = length, check_seed(seed), size

    def __len__(self) -> int:
        return self.length

    def scene_seed(self, index: int) -> int:
        """The seed of `random_scene` behind picture `index`."""
        return Random(f"{self.seed} {index}").randrange(2**48)

    def __getitem__(self, index: int):
        r"""Draws a picture.

        Returns:
            image, (3, size, size) float32 from -1 to 1, and its caption.
        """
        import torch

        if not 0 <= index < self.length:
            raise IndexError(index)  # ends a plain loop over the data set
        seed = self.scene_seed(index)
        scene = random_scene(seed)
        pixels = torch.from_numpy(render(scene, self.size)).permute(2, 0, 1)
        return pixels.float() / 127.5 - 1, caption(scene, seed=seed)


def draw_caption(text: str, size: int = 512, seed: int = 0, num: int = 1) -> list[np.ndarray]:
    r"""Draws scenes that a caption describes.

    Args:
        text: such as "a striped purple cat in the snow"; what it leaves out is drawn at random.
        size: width and height in pixels.
        seed: the first picture's seed; the next ones count up.
        num: number of pictures.

    Returns:
        `num` arrays (size, size, 3) uint8.

    Raises:
        InputError: an empty caption, a bad size, seed or number.
    """
    _check_count(num, "num")
    return [render(scene_from_caption(text, seed + i), size) for i in range(num)]


def subject_pictures(name: str, size: int = 64) -> list[np.ndarray]:
    r"""The five reference pictures of a subject: arrays (size, size, 3) uint8."""
    return [render(scene, size) for scene in subject_scenes(name)]
