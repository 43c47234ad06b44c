"""The widgets from the kernel's side: what a control changes, what is shown, what is stored."""

import base64
import html
import io

import numpy as np
import pytest
import torch
from PIL import Image

from tlab_diffusion.course.widgets import base, controls, denoiser_explorer, schedule_explorer
from tlab_diffusion.course.widgets.denoiser import betas_of, denoiser_view, two_bumps
from tlab_diffusion.course.widgets.schedules import SCHEDULES, noised_pictures, schedule_betas
from tlab_diffusion.diffusion import process, schedules
from tlab_diffusion.diffusion.mixture import GaussianMixture
from tlab_diffusion.errors import InputError
from tlab_diffusion.plots.dark import GROUND, dark_pixels, picture_places

PICTURE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
MAKERS = {"schedules": lambda: schedule_explorer(PICTURE), "denoiser": denoiser_explorer}
ALPHA_BAR = schedules.alphas_cumprod(schedules.cosine_betas(100).double())


@pytest.fixture(params=MAKERS)
def explorer(request):
    return MAKERS[request.param]()


@pytest.fixture(scope="module", params=MAKERS)
def untouched_explorer(request):
    """Each explorer, for tests that leave its controls alone."""
    return MAKERS[request.param]()


@pytest.fixture
def schedule_widget():
    return schedule_explorer(PICTURE)


@pytest.fixture(scope="module")
def untouched():
    """A schedule explorer for tests that leave its controls alone."""
    return schedule_explorer(PICTURE)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def other_value(control):
    """A value that the control does not have."""
    if hasattr(control, "options"):
        values = [each[1] if isinstance(each, tuple) else each for each in control.options]
        return next(value for value in values if value != control.value)
    if isinstance(control.value, bool):
        return not control.value
    return control.min if control.value != control.min else control.max


# --- the base: controls, picture, words, two faces


def test_every_control_changes_picture_and_words(explorer):
    for setting, control in explorer.controls.items():
        value, before = control.value, (explorer.image.value, explorer.words.value)
        control.value = other_value(control)
        assert explorer.image.value != before[0], setting
        assert explorer.words.value != before[1], setting
        control.value = value


def test_a_change_is_drawn_once(schedule_widget, monkeypatch):
    drawn = []
    draw = schedule_widget.draw
    monkeypatch.setattr(schedule_widget, "draw", lambda *a: drawn.append(a) or draw(*a))
    schedule_widget.controls["schedule"].value = "scaled linear"  # moves both betas as well
    assert len(drawn) == 1


def test_the_fast_drawing_is_the_slow_one(explorer):
    """Blitting shows, to the pixel, what drawing everything would."""
    for t in (3, 60, 40):
        explorer.controls["t"].value = t
    whole = io.BytesIO()
    figure = explorer.picture().figure
    figure.savefig(whole, format="png", dpi=figure.dpi, facecolor="white")
    np.testing.assert_array_equal(pixels(explorer.image.value), pixels(whole.getvalue()))


def published(explorer, monkeypatch) -> list[dict]:
    """What a cell gets that ends with the widget."""
    shown = []
    monkeypatch.setattr(base, "display", lambda data, raw: shown.append(data))
    explorer._ipython_display_()
    return shown


def test_a_still_picture_stands_beside_the_live_one(untouched_explorer, monkeypatch):
    still, live = published(untouched_explorer, monkeypatch)
    assert set(live) == {"application/vnd.jupyter.widget-view+json"}  # and no state
    assert Image.open(io.BytesIO(base64.b64decode(still["image/png"]))).format == "PNG"
    assert f'alt="{html.escape(untouched_explorer.picture().title)}"' in still["text/html"]
    assert "Run this cell again" in still["text/html"]


def test_the_text_stays_when_controls_move(explorer):
    before = explorer.still()["text/plain"]
    explorer.controls["t"].value = 7
    assert explorer.still()["text/plain"] == before == repr(explorer)


def test_a_still_picture_leaves_the_widget_alone(explorer):
    before = explorer.settings, explorer.image.value
    picture = explorer.picture(t=5)
    assert "t = 5" in picture.title
    assert (explorer.settings, explorer.image.value) == before


def test_browser_tests_find_the_parts(untouched):
    assert "schedule-explorer" in untouched.widget._dom_classes
    assert "schedule-explorer-picture" in untouched.image._dom_classes
    assert "schedule-explorer-words" in untouched.words._dom_classes
    for setting, name in (("t", "t"), ("zero_terminal_snr", "zero-terminal-snr")):
        assert f"schedule-explorer-{name}" in untouched.controls[setting]._dom_classes


@pytest.mark.parametrize("settings", [{"t": 1001}, {"t": -1}, {"timestep": 3}])
def test_a_still_picture_of_nothing_is_refused(untouched_explorer, settings):
    with pytest.raises(InputError, match="expected"):
        untouched_explorer.picture(**settings)


# --- play, slide, type


def row_of(explorer, setting):
    """The row in which the slider of a setting is shown."""
    rows, found = [explorer.widget], []
    while rows:
        widget = rows.pop()
        rows += getattr(widget, "children", ())
        if getattr(widget, "slider", None) is explorer.controls[setting]:
            found.append(widget)
    (row,) = found
    return row


def test_a_typed_number_moves_the_slider_and_the_slider_writes_its_own(explorer):
    row = row_of(explorer, "t")
    row.typed.value = " 37 "
    assert explorer.settings["t"] == 37
    assert "t = 37" in explorer.words.value
    explorer.controls["t"].value = 40
    assert row.typed.value == "40"


@pytest.mark.parametrize(("text", "step"), [("0.333", 0.001), ("-1.05", 0.05)])
def test_a_typed_number_between_two_steps_makes_the_steps_finer(text, step):
    explorer = denoiser_explorer()
    row_of(explorer, "x_t").typed.value = text
    slider = explorer.controls["x_t"]
    assert slider.value == float(text)
    assert slider.step == pytest.approx(step)  # else the page would round


def test_a_number_that_cannot_be_used_is_refused_with_a_line(explorer):
    before, row = explorer.settings, row_of(explorer, "t")
    for text in ("abc", "1001", "-1", "2.5", "nan", ""):
        row.typed.value = text
        assert explorer.settings == before
        assert f"got “{text}”, expected a whole number from" in explorer.words.value
    row.typed.value = "12"
    assert "expected" not in explorer.words.value


def test_a_list_takes_what_is_in_it_however_it_is_written(untouched):
    slider = untouched.controls["beta_end"]
    assert controls.typed_value(slider, "2e-2") == 0.02
    assert controls.typed_value(slider, "0.021") is None
    assert "one of 0.005, 0.008" in controls.expected_values(slider)


def test_play_runs_over_the_whole_time_in_few_pictures(untouched_explorer):
    slider = untouched_explorer.controls["t"]
    play = row_of(untouched_explorer, "t").play
    assert (play.min, play.max, play.value) == (slider.min, slider.max, slider.value)
    assert (play.max - play.min) / play.step <= controls.FRAMES + 1


def test_play_follows_a_shorter_chain(schedule_widget):
    schedule_widget.controls["num_train_timesteps"].value = 100
    assert row_of(schedule_widget, "t").play.max == 100


def test_keys_take_the_slider_from_end_to_end_in_a_hundred_presses(schedule_widget):
    slider = schedule_widget.controls["t"]
    assert slider.max / slider.step == 100
    schedule_widget.controls["num_train_timesteps"].value = 50
    assert slider.step == 1


# --- the dark face


def test_the_dark_face_has_the_same_pictures_on_a_dark_ground(untouched):
    light, dark = (pixels(each.value) for each in (untouched.image, untouched.dark_image))
    assert light[0, 0].tolist() == [255] * 3
    assert dark[0, 0].tolist() == [GROUND] * 3
    for place in picture_places(untouched._figure.figure):
        np.testing.assert_array_equal(light[place], dark[place])
    assert len(picture_places(untouched._figure.figure)) == 16


def test_colours_keep_their_hue_in_the_dark():
    colours = np.array([[[0, 0, 0], [213, 94, 0], [0, 114, 178]]], np.uint8)
    black, vermilion, blue = dark_pixels(colours)[0].tolist()
    assert black == [255] * 3
    assert vermilion[0] > vermilion[1] > vermilion[2]
    assert blue[2] > blue[1] > blue[0]


# --- the schedule explorer


def test_a_shorter_chain_takes_t_along(schedule_widget):
    schedule_widget.controls["t"].value = 900
    schedule_widget.controls["num_train_timesteps"].value = 100
    assert schedule_widget.controls["t"].max == 100
    assert schedule_widget.controls["t"].value == 100
    schedule_widget.controls["num_train_timesteps"].value = 1000
    assert schedule_widget.controls["t"].max == 1000


def test_a_schedule_brings_its_customary_ends(schedule_widget):
    controls = schedule_widget.controls
    controls["schedule"].value = "scaled linear"
    assert (controls["beta_start"].value, controls["beta_end"].value) == (0.00085, 0.012)
    controls["schedule"].value = "cosine"
    assert controls["beta_start"].disabled
    assert controls["beta_end"].disabled
    controls["schedule"].value = "linear"
    assert not controls["beta_start"].disabled
    assert (controls["beta_start"].value, controls["beta_end"].value) == (1e-4, 0.02)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("zero_snr", [False, True])
def test_curves_and_words_are_the_closed_form(untouched, schedule, zero_snr):
    figure = untouched.new_figure()
    settings = {"schedule": schedule, "zero_terminal_snr": zero_snr, "t": 250}
    settings = untouched.settings | settings
    words = untouched.draw(figure, settings, set(settings))
    ends = SCHEDULES["linear"][1]  # the settings' own, whatever the schedule
    betas = schedule_betas(schedule, 1000, ends, zero_snr)
    alpha_bar = schedules.alphas_cumprod(betas)
    np.testing.assert_allclose(figure.curves[0].betas, betas)
    np.testing.assert_allclose(figure.curves[0].alphas_cumprod, alpha_bar, rtol=1e-3, atol=1e-7)
    assert f"alpha_bar {alpha_bar[249]:.3g}, SNR {schedules.snr(alpha_bar)[249]:.3g}" in words


def test_zero_terminal_snr_leaves_nothing(untouched):
    settings = {"schedule": "scaled linear", "zero_terminal_snr": True, "t": 1000}
    assert "SNR 0: 0 %" in untouched.picture(**settings).title
    noise = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    betas = schedule_betas("scaled linear", zero_terminal_snr=True)
    of_this, of_another = (
        noised_pictures(picture, noise, [1000], betas) for picture in (PICTURE, 255 - PICTURE)
    )
    np.testing.assert_array_equal(of_this, of_another)


def test_the_picture_is_noised_as_the_mathematics_says():
    noise = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    betas = schedule_betas("linear", 50)
    shown = noised_pictures(PICTURE, noise, [0, 31], betas)
    x0 = torch.from_numpy(PICTURE).permute(2, 0, 1) / 127.5 - 1
    left = schedules.alphas_cumprod(betas)[30]
    x_t = (left.sqrt() * x0 + (1 - left).sqrt() * noise).clamp(-1, 1)
    expected = ((x_t + 1) * 127.5).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(shown[1], expected, atol=0.51)  # whole numbers
    np.testing.assert_array_equal(shown[0], PICTURE)  # before the first step


@pytest.mark.parametrize(
    "make",
    [
        lambda: schedule_explorer(PICTURE[..., 0]),
        lambda: schedule_explorer(PICTURE / 255),
        lambda: schedule_betas("quadratic"),
        lambda: schedule_betas("linear", 0),
        lambda: denoiser_explorer(GaussianMixture(torch.ones(1), torch.zeros(1, 2), EYE)),
        lambda: denoiser_explorer(alphas_cumprod=torch.tensor([2.0])),
    ],
)
def test_bad_input_is_refused(make):
    with pytest.raises(InputError, match="expected"):
        make()


EYE = torch.eye(2)[None]

# --- the denoiser explorer


@pytest.mark.parametrize(("t", "x_t"), [(5, 0.7), (45, -0.2), (90, 1.5), (99, -2.0)])
def test_the_view_is_bayes_rule_on_a_grid(t, x_t):
    """The posterior, its mean and the noise's mean, by adding up a fine grid."""
    x, step = np.linspace(-3.2, 3.2, 6401, retstep=True)
    mixture = two_bumps()
    view = denoiser_view(mixture, ALPHA_BAR, t, x_t, x)
    left = ALPHA_BAR[t].item()
    prior = mixture.log_prob(torch.from_numpy(x)[:, None]).exp().numpy()
    joint = prior * np.exp(-((x_t - left**0.5 * x) ** 2) / (2 * (1 - left)))
    posterior = joint / joint.sum() / step
    np.testing.assert_allclose(view.posterior, posterior, atol=1e-6)
    mean = (x * posterior).sum() * step
    assert view.x0_mean == pytest.approx(mean, abs=1e-6)
    assert view.eps_mean == pytest.approx((x_t - left**0.5 * mean) / (1 - left) ** 0.5, abs=1e-6)


@pytest.mark.parametrize("t", [0, 45, 99])
def test_the_score_points_from_x_t_to_the_prediction(t):
    view = denoiser_view(two_bumps(), ALPHA_BAR, t, 0.3)
    assert view.score_end == pytest.approx(ALPHA_BAR[t].item() ** 0.5 * view.x0_mean, abs=1e-9)
    assert (view.path[0], view.path[-1]) == (pytest.approx(0.3), pytest.approx(view.x0_mean))
    assert len(view.path) == view.t + 1 == t + 2


def test_the_step_back_is_the_posterior_of_the_prediction():
    betas = schedules.cosine_betas(100).double()
    torch.testing.assert_close(betas_of(ALPHA_BAR), betas)
    view = denoiser_view(two_bumps(), ALPHA_BAR, 60, 0.4)
    x0, x_t = torch.tensor([[view.x0_mean]]).double(), torch.tensor([[0.4]]).double()
    mean, _ = process.posterior(x0, x_t, torch.tensor([60]), betas)
    assert view.step_mean == pytest.approx(mean.item(), abs=1e-9)


def test_zero_terminal_snr_predicts_the_mean_of_all_data():
    betas = schedules.rescale_zero_terminal_snr(schedules.linear_betas(100, 1e-3, 0.2))
    mixture = two_bumps()
    view = denoiser_view(mixture, schedules.alphas_cumprod(betas), 99, 1.7)
    assert view.x0_mean == pytest.approx((mixture.weights @ mixture.means).item(), abs=1e-6)
    assert view.eps_mean == pytest.approx(1.7, abs=1e-6)
