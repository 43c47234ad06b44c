"""Characters met several times: the pictures that the measuring networks are trained on.

A character is a class, a colour, a pattern and a shape. Its scenes show it in other places, moods,
views and styles, with and without accessories. Every combination of class and colour occurs, those
that the U-Net never sees too: what measures must know them all. On request most characters have
oddities, as subjects have, that set them apart from all members of their class.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random

import numpy as np
from tqdm.auto import tqdm

from tlab_diffusion.evaluation.pictures import SIZE, kept
from tlab_diffusion.picturebook import CLASSES, COLOURS, PATTERNS, Scene, random_scene, render

SCENES_EACH = 6
CHUNK = 512  # characters a file
ODD_SHARE = 0.75  # of the characters, where oddities are asked for
KINDS = [(class_noun, colour) for class_noun in CLASSES for colour in COLOURS]
# Scenes of other seeds than the pipeline's own.
FIRST_SEED = 500_000_000


def character_scene(character: int, number: int, oddities: bool = False) -> Scene:
    r"""The scene `number` of a character; its class and colour follow from its own number."""
    who = Random(f"character {character}")
    class_noun, colour = KINDS[character % len(KINDS)]
    factors = {
        "class_noun": class_noun,
        "colour": colour,
        "pattern": who.choices(PATTERNS, (55, 15, 15, 15))[0],
        "view": Random(f"{character} {number}").choices(("front", "side", "back"), (70, 24, 6))[0],
    }
    seed = FIRST_SEED + SCENES_EACH * character + number
    scene = random_scene(seed, held_out=None, **factors)
    scene = dataclasses.replace(scene, shape=who.randrange(1_000_000))
    if not oddities or who.random() > ODD_SHARE:
        return scene
    return dataclasses.replace(scene, oddity=who.randrange(1_000_000))


def character_scenes(first: int, num: int, oddities: bool = False) -> list[Scene]:
    """All scenes of `num` characters, one character after the other."""
    return [
        character_scene(character, number, oddities)
        for character in range(first, first + num)
        for number in range(SCENES_EACH)
    ]


def cached_characters(
    folder: Path, num: int, oddities: bool = False, size: int = SIZE, processes: int = 2
) -> np.ndarray:
    r"""The pictures of `character_scenes`, drawn on the first call and read on the next.

    Args:
        folder: with the files; missing ones are drawn.
        num: how many characters.
        oddities: whether most have some.
        size: the pictures' side, in pixels.
        processes: how many to draw with.

    Returns:
        (num * SCENES_EACH, size, size, 3) uint8.
    """
    parts = []
    for start in range(0, num, CHUNK):
        path = folder / f"{'odd-' if oddities else ''}characters-{size}-{start}.npy"
        chunk = kept(path, partial(_drawn, start, oddities, size, processes))
        parts.append(chunk[: (num - start) * SCENES_EACH])
    return np.concatenate(parts)


def _drawn(start: int, oddities: bool, size: int, processes: int) -> np.ndarray:
    return draw(character_scenes(start, CHUNK, oddities), size, processes)


def draw(
    scenes: Sequence[Scene], size: int = SIZE, processes: int = 1, progress: bool = True
) -> np.ndarray:
    r"""Pictures of any scenes: (N, size, size, 3) uint8; they do not depend on `processes`."""
    of_size = partial(render, size=size)
    bar = {"total": len(scenes), "unit": "scene", "disable": not progress}
    if processes == 1:
        return np.stack(list(tqdm(map(of_size, scenes), **bar)))
    # Fresh processes: a fork of one that runs threads (torch) may hang.
    with get_context("spawn").Pool(processes) as pool:
        return np.stack(list(tqdm(pool.imap(of_size, scenes, chunksize=32), **bar)))
