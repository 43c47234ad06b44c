"""Results browser, before/after slider, trade-off curve: true numbers and pictures, two faces."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tests.course import grids
from tlab_diffusion.course.stored import StoredGrid
from tlab_diffusion.course.widgets import before_after, results_browser, trade_off_explorer
from tlab_diffusion.course.widgets.trade_off import one_row
from tlab_diffusion.dreambooth.grid.result import GridPoint
from tlab_diffusion.dreambooth.measures.selection import Point
from tlab_diffusion.dreambooth.report.log import RunLog
from tlab_diffusion.errors import InputError

SHORT = {1e-4: "1e-4", 3e-4: "3e-4"}
ROW, SAMPLES = one_row(grids.stored(), 3e-4)
BEFORE, AFTER = (np.full((3, 16, 16, 3), value, np.uint8) for value in (10, 200))


def browser():
    return results_browser(grids.stored())


def slider():
    return before_after(BEFORE, AFTER, grids.PROMPTS)


def curve():
    return trade_off_explorer(ROW, SAMPLES)


each_widget = pytest.mark.parametrize("make", [browser, slider, curve])


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def shown(figure, shape: tuple) -> list[np.ndarray]:
    """The pictures of that shape in a figure, in order."""
    images = [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]
    return [image for image in images if image.shape == shape]


def another(control):
    """A value that the control does not have."""
    if hasattr(control, "options"):
        values = [each[1] if isinstance(each, tuple) else each for each in control.options]
        return next(value for value in values if value != control.value)
    return control.value + control.step


# --- all three: controls, picture, words, two faces


@each_widget
def test_every_control_changes_picture_and_words(make):
    widget = make()
    for setting, control in widget.controls.items():
        before = widget.image.value, widget.words.value
        control.value = another(control)
        assert widget.image.value != before[0], setting
        if setting not in ("prompt",):
            assert widget.words.value != before[1], setting


@each_widget
def test_the_fast_drawing_is_the_slow_one(make):
    """Blitting shows, to the pixel, what drawing everything would."""
    widget = make()
    for control in widget.controls.values():
        control.value = another(control)
    figure, whole = widget.picture().figure, io.BytesIO()
    figure.savefig(whole, format="png", dpi=figure.dpi, facecolor="white")
    np.testing.assert_array_equal(pixels(widget.image.value), pixels(whole.getvalue()))


@each_widget
def test_the_still_picture_has_its_text(make):
    widget = make()
    before = repr(widget)
    control = next(iter(widget.controls.values()))
    control.value = another(control)
    data = widget.still()
    assert data["text/plain"] == before == repr(widget)
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).format == "PNG"
    assert len(data["text/html"].split('alt="')[1].split('"')[0]) > 60


def test_long_prompts_stay_beside_and_above_their_pictures():
    """Two lines have room in the browser and above the curve's pictures; what is longer is cut."""
    long = [f"a photo of a zwx robot {'that has read a very long book ' * 5}{n}" for n in range(3)]
    browsed = results_browser(grids.stored(), long).picture().figure
    curve = trade_off_explorer(ROW, SAMPLES._replace(prompts=long)).picture().figure
    titles = [axes.get_title(loc="left") for axes in curve.axes[1:]]
    for figure, texts in (
        (browsed, [axes.texts[0].get_text() for axes in browsed.axes[1:2]]),
        (curve, titles),
    ):
        assert texts and all(text.count("\n") == 1 and text.endswith("…") for text in texts)
        assert figure.get_tightbbox().x1 < figure.get_figwidth()


@pytest.mark.parametrize(
    ("make", "name", "setting"),
    [
        (browser, "results-browser", "learning_rate"),
        (slider, "before-after", "border"),
        (curve, "trade-off-explorer", "step"),
    ],
)
def test_browser_tests_find_the_parts(make, name, setting):
    widget = make()
    assert f"{name}-picture" in widget.image._dom_classes
    control = widget.controls[setting]
    assert f"{name}-{setting.replace('_', '-')}" in control._dom_classes


# --- the results browser


def test_the_browser_opens_at_the_best_cell():
    controls = browser().controls
    assert (controls["learning_rate"].value, controls["steps"].value) == grids.BEST


def test_a_cells_words_and_pictures_are_its_own():
    widget = browser()
    made = grids.stored()
    for rate, steps in grids.NUMBERS:
        qualities, pictures = made.grid.trials[rate, steps].qualities, made.pictures[rate, steps]
        picture = widget.picture(learning_rate=rate, steps=steps, prompt=1)
        assert f"Learning rate {SHORT[rate]}, {steps} steps" in picture.title
        for name, value in qualities.by_name().items():
            assert f"{name} {value:.2f}" in picture.title
        large, *small = shown(picture.figure, (16, 16, 3))
        np.testing.assert_array_equal(large, pictures[1])
        np.testing.assert_array_equal(small, pictures)


def test_the_heat_map_has_the_highest_rate_on_top_and_a_star_on_the_best():
    figure = browser().picture(quality="identity").figure
    expected = [[grids.NUMBERS[rate, steps][0] for steps in grids.STEPS] for rate in (3e-4, 1e-4)]
    np.testing.assert_allclose(shown(figure, (2, 3))[0], expected)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["3e-4", "1e-4"]
    numbers = [text.get_text() for text in figure.axes[0].texts]
    assert [text for text in numbers if "★" in text and "highest" not in text] == ["0.90 ★"]


def test_ranks_count_from_the_best():
    widget = browser()
    rate, steps = grids.BEST
    assert "number 1 of 6 cells." in widget.picture(learning_rate=rate, steps=steps).title
    by_identity = widget.picture(learning_rate=rate, steps=steps, quality="identity")
    assert "number 2 of 6 cells by identity." in by_identity.title


@pytest.mark.parametrize(
    ("failed", "why"),
    [({}, ""), ({GridPoint(3e-4, 1000): "loss nan"}, "; the training broke off, loss nan")],
)
def test_a_cell_without_metrics_is_blank_and_says_why(failed, why):
    stored = grids.stored(without=(3e-4, 1000), failed=failed)
    picture = results_browser(stored).picture(learning_rate=3e-4, steps=1000)
    assert picture.title.endswith(f"1000 steps: nothing was measured here{why}.")
    assert all((image == 255).all() for image in shown(picture.figure, (16, 16, 3)))


def test_of_equally_high_cells_the_star_is_on_the_one_that_took_least():
    numbers = browser().picture(quality="prompt").figure.axes[0].texts[:6]
    assert [number.get_text() for number in numbers] == [
        *("0.90", "0.80", "0.40"),
        *("0.90 ★", "0.90", "0.80"),
    ]


def test_a_folder_shows_as_its_grid_does(tmp_path):
    from_folder = results_browser(grids.write_grid(tmp_path / "grid"))
    assert from_folder.image.value == browser().image.value
    assert from_folder.words.value == browser().words.value


# --- the before/after slider


@pytest.mark.parametrize(("border", "column"), [(0, 0), (25, 4), (50, 8), (100, 16)])
def test_the_border_parts_every_picture(border, column):
    picture = slider().picture(border=border)
    images = shown(picture.figure, (16, 16, 3))
    assert len(images) == 3
    for image in images:
        assert (image[:, :column] == 10).all()
        assert (image[:, column:] == 200).all()


@pytest.mark.parametrize(
    ("border", "words"),
    [
        (25, "left 25 % of every picture are by the original model"),
        (0, "All of every picture is by the tuned model"),
        (100, "All of every picture is by the original model"),
    ],
)
def test_the_words_say_who_drew_what(border, words):
    assert words in slider().picture(border=border).title


# --- the trade-off curve


def test_the_curve_opens_at_the_best_step_and_says_why():
    widget = curve()
    assert widget.controls["step"].value == 400
    first, second = widget.words.value.split("<br>")
    assert "Step 400 of 1000: identity 0.80, prompt 0.80, prior 0.75; together 0.78." in first
    assert "Step 400 has the best balance. Earlier, at step 100, identity is 0.30." in second


def test_a_steps_words_and_pictures_are_its_own():
    picture = curve().picture(step=1000)
    assert "Step 1000 of 1000: identity 0.90, prompt 0.40, prior 0.25" in picture.title
    assert "Step 400 has the better balance: prior is 0.25 here and 0.75 there." in picture.title
    expected = grids.stored().pictures[3e-4, 1000]
    np.testing.assert_array_equal(shown(picture.figure, (16, 16, 3)), expected)


def test_step_0_is_the_original_model():
    picture = curve().picture(step=0)
    assert "The original model: it has never met the subject." in picture.title
    np.testing.assert_array_equal(shown(picture.figure, (16, 16, 3)), grids.stored().original)


def test_steps_without_pictures_are_blank_and_a_curve_needs_none():
    samples = SAMPLES._replace(at={100: SAMPLES.at[100]})
    figure = trade_off_explorer(ROW, samples).picture(step=400).figure
    assert all((image == 255).all() for image in shown(figure, (16, 16, 3)))
    assert shown(trade_off_explorer(ROW).picture(step=100).figure, (16, 16, 3)) == []


def test_a_runs_folder_shows_what_the_run_has_left(tmp_path):
    log = RunLog(tmp_path)
    for step, metrics in ROW:
        log.add_metrics(step, metrics, "we")
    for step, pictures in SAMPLES.at.items():
        log.add_strip(step, pictures)
    from_folder = trade_off_explorer(tmp_path, prompts=SAMPLES.prompts)
    assert from_folder.words.value == curve().words.value
    assert from_folder.image.value == curve().image.value


def test_dots_stand_on_the_curves_at_the_step():
    axes = curve().picture(step=100).figure.axes[0]
    lines = {line.get_label(): line for line in axes.lines if line.get_label()[0] != "_"}
    dots = [line for line in axes.lines if len(line.get_xdata()) == 1]
    for name, dot in zip(("identity", "prompt", "prior", "together"), dots, strict=True):
        at = list(lines[name].get_xdata()).index(100)
        assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (100, lines[name].get_ydata()[at])


@pytest.mark.parametrize(
    "make",
    [
        lambda: results_browser(grids.stored(), grids.PROMPTS[1:]),
        lambda: results_browser(StoredGrid(grids.new_grid({}), {}, grids.pictures(0))),
        lambda: browser().picture(steps=200),
        lambda: browser().picture(quality="beauty"),
        lambda: browser().picture(prompt=3),
        lambda: before_after(BEFORE, AFTER[:2], grids.PROMPTS),
        lambda: before_after(BEFORE, AFTER, grids.PROMPTS[1:]),
        lambda: before_after(BEFORE / 255, AFTER, grids.PROMPTS),
        lambda: slider().picture(border=101),
        lambda: curve().picture(step=200),
        lambda: one_row(grids.stored(), 5e-4),
        lambda: trade_off_explorer(ROW, SAMPLES._replace(prompts=["a"])),
        lambda: trade_off_explorer([Point(100, grids.ORIGINAL)]),
    ],
)
def test_bad_results_and_settings_are_refused(make):

    with pytest.raises(InputError, match="expected"):
        make()
