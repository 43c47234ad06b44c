"""Stored results: read as they were written, and one line where they cannot be."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.course import grids
from tests.course.stored_results import SHOWN, write
from tlab_diffusion.course.stored import (
    METHODS,
    load_grid,
    load_settings,
    load_sheet,
    load_tables,
)
from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import SUBJECTS


def number(method, subject, name):
    return list(METHODS).index(method) / 10 + list(SUBJECTS).index(subject) / 100


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, number)
    return tmp_path


def test_tables_come_back_by_method(folder):
    tables = load_tables(folder)
    assert list(tables) == list(METHODS)
    for method, results in tables.items():
        assert [each.subject for each in results] == list(SUBJECTS)
        for each in results:
            assert each.numbers()["dino"] == number(method, each.subject, "dino")
    assert load_settings(folder)["training"] == {"dreambooth": {"max_steps": 400}}


def test_the_sheet_comes_back_by_subject_and_method(folder):
    sheet = load_sheet(folder)
    assert sheet.captions == SHOWN
    for row, method in enumerate(METHODS):
        for first, name in ((0, "pip"), (2, "mochi")):
            pictures = sheet.pictures[name][method]
            assert pictures.shape == (2, 64, 64, 3) and pictures.dtype == np.uint8
            greys = [set(np.unique(picture)) for picture in pictures]
            assert greys == [{5 * (4 * row + first)}, {5 * (4 * row + first + 1)}]


def test_a_grid_comes_back_with_its_pictures(tmp_path):
    made, found = grids.stored(), load_grid(grids.write_grid(tmp_path / "grid"))
    assert found.grid == made.grid
    assert np.array_equal(found.original, made.original)
    assert list(found.pictures) == list(made.pictures)
    for place, pictures in made.pictures.items():
        assert np.array_equal(found.pictures[place], pictures)


READERS = {"tables.json": (load_tables, load_settings, load_sheet), "tables.webp": (load_sheet,)}


@pytest.mark.parametrize("name", READERS)
def test_a_missing_or_cut_file_is_said_in_one_line(folder, name):
    file = folder / name
    whole = file.read_bytes()
    for content in (None, b"", whole[: len(whole) // 2]):
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        got = f"no {name} in" if content is None else f"a damaged {name}"
        for read in READERS[name]:
            with pytest.raises(InputError, match=f"stored results: got {got}") as caught:
                read(folder)
            assert "`python -m benchmarks.paper_tables` recomputes them." in str(caught.value)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda methods: methods.pop("lora"),
        lambda methods: methods["lora"].pop("pip"),
        lambda methods: methods["lora"]["pip"].pop("samples"),
        lambda methods: methods.update({method: {} for method in methods}),
        lambda methods: methods.update(lora=[1, 2]),
    ],
)
def test_results_that_lack_something_are_damaged(folder, damage):
    content = json.loads((folder / "tables.json").read_text())
    damage(content["methods"])
    (folder / "tables.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="got a damaged tables.json"):
        load_tables(folder)


def test_a_sheet_of_another_shape_is_damaged(folder):
    for shape in ((7 * 64, 3 * 64, 3), (7 * 64 + 1, 4 * 64, 3)):
        Image.fromarray(np.zeros(shape, np.uint8)).save(folder / "tables.webp", lossless=True)
        with pytest.raises(InputError, match="got a damaged tables.webp"):
            load_sheet(folder)


def test_a_grid_that_lacks_a_picture_is_said(tmp_path):
    grids.write_grid(tmp_path)
    (tmp_path / "pictures" / "lr3e-04-step00400.png").unlink()
    with pytest.raises(InputError, match="no lr3e-04-step00400.png in .* `tlab grid` recomputes"):
        load_grid(tmp_path)
    with pytest.raises(InputError, match="no grid.json in"):
        load_grid(tmp_path / "nothing")
