r"""What a grid shows: words, table, heat map and pictures."""

from pathlib import Path

import numpy as np
import pytest
from filelock import Timeout
from PIL import Image

from tests.course.grids import BEST, NUMBERS, PROMPTS, new_grid, pictures
from tests.dreambooth.test_checkpoint import full_disk
from tlab_diffusion.dreambooth.grid.console import line_of
from tlab_diffusion.dreambooth.grid.report import markdown, table, verdict, write_report
from tlab_diffusion.dreambooth.grid.result import Grid, GridPoint, format_rate, row_name
from tlab_diffusion.dreambooth.grid.store import GridStore
from tlab_diffusion.dreambooth.report.contact_sheet import save_strip
from tlab_diffusion.errors import InputError
from tlab_diffusion.plots import heat_maps, picture_page


def test_the_best_cell_in_words():
    assert verdict(new_grid()) == (
        "The best of 6 trials: learning rate 3e-4, 400 steps. Score 0.78 of identity 0.80, "
        "prompt 0.80, prior 0.75. It is at the edge of the grid: higher rates may be better."
    )
    assert new_grid().best.point == BEST


@pytest.mark.parametrize(
    "best, said",
    [
        ((1e-3, 200), ""),
        ((1e-2, 200), " It is at the edge of the grid: higher rates may be better."),
        ((1e-4, 100), " It is at the edge of the grid: lower rates and fewer steps may be better."),
        ((1e-3, 400), " It is at the edge of the grid: more steps may be better."),
    ],
)
def test_a_best_cell_at_the_edge_asks_for_a_larger_grid(best, said):
    rates, steps = (1e-4, 1e-3, 1e-2), (100, 200, 400)
    numbers = {(r, s): (0.9 if (r, s) == best else 0.1, 0.9, 0.8) for r in rates for s in steps}
    assert verdict(new_grid(numbers, rates, steps)).endswith(f"prior 1.00.{said}")


def test_of_equals_the_one_that_took_least_is_best():
    places = [(3e-4, 400), (1e-4, 400), (3e-4, 100), (1e-4, 100)]
    for order in (places, places[::-1]):
        assert new_grid(dict.fromkeys(order, (0.5, 0.5, 0.5))).best.point == (1e-4, 100)


def test_where_every_score_is_0_the_cell_with_the_higher_sum_is_best():
    numbers = {(1e-4, 100): (0.0, 0.3, 0.8), (3e-4, 400): (0.0, 0.8, 0.8)}
    assert new_grid(numbers).best.point == (3e-4, 400)


def test_the_table_has_every_cell_and_the_original():
    lines = table(new_grid()).splitlines()
    assert lines[0] == "# zwx robot: learning rate x steps"
    (at,) = (i for i, line in enumerate(lines) if "400 steps |" in line)
    assert lines[at].split("|")[1:-1] == [
        " learning rate ",
        " 100 steps ",
        " 400 steps ",
        " 1000 steps ",
    ]
    assert [text.strip() for text in lines[at + 2].split("|")[1:-1]] == [
        "3e-4",
        *("0.54", "**0.78**", "0.39"),
    ]
    assert [text.strip() for text in lines[-1].split("|")[1:9]] == [
        *("3e-4", "1000", "0.39", "0.90", "0.40", "0.25"),
        *("0.90", "–"),
    ]
    assert "Pictures of each prompt: 4; of the class: 50. Encoders: we." in lines
    assert lines[-7].split("|")[1].strip() == "the original model"


def test_a_training_that_broke_off_has_dashes_and_a_reason():
    numbers = {place: NUMBERS[place] for place in NUMBERS if place != (3e-4, 1000)}
    broken = {GridPoint(3e-4, 1000): "loss nan at step 437"}
    text = table(new_grid(numbers, failed=broken))
    assert "The training at 3e-4 failed: loss nan at step 437." in text
    assert text.splitlines()[-1].count("–") == 10
    nothing = new_grid({}, [1e-4], [5], failed={GridPoint(1e-4, 5): "loss nan"})
    assert "No trial was measured" in table(nothing)


def test_the_columns_of_a_table_stand_under_each_other():
    assert markdown(["a", "long"], [["123", "4"]]).splitlines() == [
        "|   a | long |",
        "| --: | ---: |",
        "| 123 |    4 |",
    ]


def test_a_trial_in_one_line():
    cell = new_grid().trials[GridPoint(1e-4, 400)]
    assert line_of(cell) == "1e-4, 400 steps: score 0.65 of identity 0.40, prompt 0.90, prior 1.00"


def test_learning_rates_keep_their_names_apart():
    assert GridPoint(3e-4, 1000).name == "lr3e-04-step01000"
    assert format_rate(3e-4) == "3e-4" and format_rate(1.5e-4) == "1.5e-4"
    assert format_rate(10**-2.5) == "3.16e-3"  # on a grid's axis there is no room for all digits
    rates = [1e-4, 1.45e-4, 1.46e-4, 2e-4, 1e-3, 0.00010000000000000002]
    assert len({row_name(rate) for rate in rates}) == len(rates)


def test_a_grid_comes_back_from_json():
    grid = new_grid(failed={GridPoint(3e-4, 400): "loss nan"})
    assert Grid.from_dict(grid.as_dict()) == grid


@pytest.fixture
def folder(tmp_path):
    folder = GridStore(tmp_path)
    for number, name in enumerate(["original", *[GridPoint(*place).name for place in NUMBERS]]):
        save_strip(folder.strip(name), pictures(number))
    return folder


def test_the_page_is_three_files(folder):
    write_report(new_grid(), folder)
    assert (folder.path / "table.md").read_text() == table(new_grid()) + "\n"
    for name in ("heat_map.png", "pictures.png"):
        with Image.open(folder.path / name) as image:
            assert min(image.size) > 300


@pytest.mark.parametrize("name", ["table.md", "pictures.png"])
def test_a_kill_while_the_page_is_written_leaves_the_old_file(folder, monkeypatch, name):
    write_report(new_grid(), folder)
    before = (folder.path / name).read_bytes()
    write = Path.write_bytes

    def killed(path, content):
        write(path, content[: len(content) // 2])
        if path.stem == Path(name).stem:
            raise KeyboardInterrupt

    grid = new_grid({place: NUMBERS[place] for place in NUMBERS if place != BEST})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            write_report(grid, folder)
    assert (folder.path / name).read_bytes() == before
    write_report(grid, folder)
    assert (folder.path / name).read_bytes() != before
    assert not list(folder.path.glob("*.draft"))


def test_the_page_is_written_while_nobody_else_writes(folder, monkeypatch):
    write, written = Path.write_bytes, []

    def noted(path, content):
        with pytest.raises(Timeout):
            folder.locked().acquire(timeout=0)
        written.append(path.stem)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", noted)
    write_report(new_grid(), folder)
    assert written == ["table", "heat_map", "pictures"]
    folder.locked().acquire(timeout=0)  # and then anybody may


def test_no_room_for_the_page_is_one_line(folder):
    with (
        full_disk(1000),
        pytest.raises(InputError, match="could not be written.*--resume") as error,
    ):
        write_report(new_grid(), folder)
    assert "\n" not in str(error.value)


def test_a_grid_without_a_cell_has_a_page_too(folder):
    grid = new_grid({}, [1e-4], [5], failed={GridPoint(1e-4, 5): "loss nan"})
    write_report(grid, folder)
    assert (folder.path / "heat_map.png").is_file()


def test_heat_maps_have_a_number_in_each_cell_and_a_star_at_the_best():
    score = np.array([[0.1, 0.9], [np.nan, 0.4]])
    picture = heat_maps(
        ["3e-4", "1e-4"],
        ["100", "400"],
        {"score": score, "identity": np.array([[0.1, 0.5], [0.9, 0.4]])},
        labels=("learning rate", "steps"),
        best=(0, 1),
        title="A grid",
    )
    large, small = picture.figure.axes
    assert [text.get_text() for text in large.texts] == ["0.10", "0.90 ★", "–", "0.40"]
    assert [text.get_text() for text in small.texts] == ["0.10", "0.50 ★", "0.90", "0.40"]
    assert [label.get_text() for label in large.get_yticklabels()] == ["3e-4", "1e-4"]
    (image,) = large.images
    assert (np.ma.filled(image.get_array(), -1) == [[0.1, 0.9], [-1, 0.4]]).all()
    # White on dark colours, dark on bright ones.
    assert [text.get_color() == "white" for text in large.texts] == [True, False, False, True]


def test_a_page_of_pictures_has_a_row_for_each_strip():
    strips = np.stack([pictures(number) for number in range(2)])
    page = picture_page(strips, ["one", "other"], PROMPTS, title="A page")
    for axes, strip, name in zip(page.figure.axes, strips, ["one", "other"], strict=True):
        (image,) = axes.images
        assert (image.get_array() == np.concatenate(list(strip), axis=1)).all()
        assert [label.get_text() for label in axes.get_yticklabels()] == [name]
    shown = [label.get_text().replace("\n", " ") for label in page.figure.axes[0].get_xticklabels()]
    assert shown == PROMPTS
