r"""Stored results of experiments that take an hour, each with the command that recomputes it.

tables.json, tables.webp    the paper's experiments in miniature (lesson 07)
grid/                       learning rate x steps (lesson 09)

paper_tables.py compares the first with the paper's tables.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tlab_diffusion.dreambooth.grid.result import ORIGINAL, Grid, GridPoint, pictures_file
from tlab_diffusion.dreambooth.report.contact_sheet import apart, read_strip
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.result import Metrics

RESULTS = Path(__file__).with_name("results")
TABLES_COMMAND = "python -m benchmarks.paper_tables"
GRID_COMMAND = "tlab grid"
# The methods, with their names in texts.
METHODS = {
    "original": "the original model",
    "dreambooth": "DreamBooth",
    "without_prior": "without the prior loss",
    "textual_inversion": "Textual Inversion",
    "lora": "LoRA",
    "wrong_noun": "a wrong class noun",
    "no_noun": "no class noun",
}
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError)


class Sheet(NamedTuple):
    """Samples of the models of some subjects, from the same prompts and noise.

    Args:
        captions: of each subject's columns.
        pictures: by subject, then by method: (N, H, W, 3) uint8, one for each caption.
    """

    captions: dict[str, list[str]]
    pictures: dict[str, dict[str, np.ndarray]]


class StoredGrid(NamedTuple):
    """A grid, and its samples of the fixed prompts: (N, H, W, 3) uint8 each."""

    grid: Grid
    pictures: dict[GridPoint, np.ndarray]  # by each cell
    original: np.ndarray  # by the model itself


def load_tables(folder: Path = RESULTS) -> dict[str, list[Metrics]]:
    r"""Load the metrics of every subject by method, the subjects in the same order.

    Raises:
        InputError: if the file is missing or damaged; says how to recompute it.
    """
    with _recomputed_by(TABLES_COMMAND, folder / "tables.json") as file:
        methods = json.loads(file.read_text(encoding="utf-8"))["methods"]
        tables = {
            method: [Metrics.from_dict(fields) for fields in methods[method].values()]
            for method in METHODS
        }
        first, *others = [[each.subject for each in results] for results in tables.values()]
        if not first or any(other != first for other in others):
            raise ValueError("every method needs the same subjects")
        return tables


def load_settings(folder: Path = RESULTS) -> dict:
    r"""Load the settings of the tables: the model's fingerprint, steps, nouns, minutes taken.

    Raises:
        InputError: if the file is missing or damaged; says how to recompute it.
    """
    with _recomputed_by(TABLES_COMMAND, folder / "tables.json") as file:
        return dict(json.loads(file.read_text(encoding="utf-8"))["settings"])


def load_sheet(folder: Path = RESULTS) -> Sheet:
    r"""Load the samples of some subjects by all methods.

    Raises:
        InputError: if a file is missing or damaged; says how to recompute it.
    """
    captions = load_settings(folder).get("shown", {})
    with _recomputed_by(TABLES_COMMAND, folder / "tables.webp") as file:
        rows = np.split(_pixels(file), len(METHODS))  # one a method
        side = len(rows[0])
        ends = np.cumsum([side * len(texts) for texts in captions.values()])
        if not len(ends) or rows[0].shape[1] != ends[-1]:
            raise ValueError("as many pictures in a row as there are captions")
        pictures = {
            name: {
                method: apart(row[:, end - side * len(texts) : end])
                for method, row in zip(METHODS, rows, strict=True)
            }
            for (name, texts), end in zip(captions.items(), ends, strict=True)
        }
        return Sheet(captions, pictures)


def load_grid(folder: Path = RESULTS / "grid") -> StoredGrid:
    r"""Load the stored grid, or one from a folder of `tlab grid`.

    Raises:
        InputError: if a file is missing or damaged; says how to recompute it.
    """
    with _recomputed_by(GRID_COMMAND, folder / "grid.json") as file:
        grid = Grid.from_dict(json.loads(file.read_text(encoding="utf-8")))
    pictures = {place: _drawn(folder, place.name) for place in grid.trials}
    return StoredGrid(grid, pictures, _drawn(folder, ORIGINAL))


def _drawn(folder: Path, name: str) -> np.ndarray:
    with _recomputed_by(GRID_COMMAND, folder / pictures_file(name)) as file:
        return read_strip(file)


@contextmanager
def _recomputed_by(command: str, file: Path) -> Iterator[Path]:
    """Read a file; an error names the command that recomputes it."""
    try:
        yield file
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(
            "stored results",
            got=f"a damaged {file.name}" if file.exists() else f"no {file.name} in {file.parent}",
            expected="the results of an experiment",
            fix=f"`{command}` recomputes them.",
        ) from error


def _pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))
