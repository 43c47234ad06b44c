"""Figures: what they refuse, what they show, and that anybody can tell their colours apart."""

import io
import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tlab_diffusion import plots
from tlab_diffusion.diffusion.schedules import alphas_cumprod as alphas_cumprod_of
from tlab_diffusion.diffusion.schedules import cosine_betas, linear_betas, snr
from tlab_diffusion.errors import InputError
from tlab_diffusion.plots._arrays import as_pictures
from tlab_diffusion.plots.schedules import schedule_curves

X = np.linspace(-1, 1, 5)
PICTURES = np.zeros((2, 8, 8, 3), np.uint8)


def curve(ys, **changes):
    return plots.curves(X, ys, **{"title": "T", "xlabel": "x", "ylabel": "y"} | changes)


def dots(series, **changes):
    return plots.dotted(series, **{"title": "T", "xlabel": "x", "ylabel": "y"} | changes)


def latents(values):
    return plots.latent_channels(PICTURES, values, title="T")


FIGURES = {
    "strip": lambda: plots.picture_strip(PICTURES, ["a", "b"], title="T"),
    "grid": lambda: plots.picture_grid(PICTURES, ["a", "b"], columns=1, title="T"),
    "curves": lambda: curve({"a": X, "b": torch.ones(5)}, log="x"),
    "dotted": lambda: dots({"a": ([1, 2, 3], [0.1, 0.5, 0.2]), "b": ([1, 10], [0, 1])}, log="x"),
    "intervals": lambda: plots.intervals(
        {"a": (1, 0.5, 2), "b": (0, None, None)}, title="T", xlabel="x"
    ),
    "density": lambda: plots.density(X, {"a": X**2}, title="T", xlabel="x", samples=X),
    "points": lambda: plots.points({"a": torch.zeros(3, 2), "b": np.ones((4, 2))}, title="T"),
    "latents": lambda: latents(torch.zeros(2, 4, 2, 2)),
    "schedules": lambda: plots.schedule_figure({"cosine": cosine_betas(9)}, title="T"),
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_a_figure_shows_itself_under_its_title(draw):
    picture = draw()
    png, metadata = picture._repr_png_()
    assert repr(picture) == "<Picture: T>"
    assert metadata["alt"] == "T"
    assert Image.open(io.BytesIO(png)).width >= metadata["width"]


REFUSED = {
    "grey pictures": lambda: plots.picture_strip(np.zeros((2, 8, 8)), ["a", "b"], title="T"),
    "integers of another kind": lambda: as_pictures("p", np.zeros((1, 8, 8, 3), int)),
    "one picture without a batch": lambda: as_pictures("p", torch.zeros(3, 8, 8)),
    "pictures of two sizes": lambda: as_pictures("p", [np.zeros((4, 4, 3)), np.zeros((5, 5, 3))]),
    "no pictures": lambda: plots.picture_strip(PICTURES[:0], [], title="T"),
    "a label too few": lambda: plots.picture_strip(PICTURES, ["a"], title="T"),
    "no columns": lambda: plots.picture_grid(PICTURES, ["a", "b"], columns=0, title="T"),
    "a curve too short": lambda: curve({"a": X[1:]}),
    "no curves": lambda: curve({}),
    "a curve without a name": lambda: curve(X),
    "words for numbers": lambda: curve({"a": ["x"] * 5}),
    "an unknown log": lambda: curve({"a": X}, log="z"),
    "points in a row": lambda: plots.points({"a": np.zeros((3, 3))}, title="T"),
    "a density too short": lambda: plots.density(X, {"a": X[1:]}, title="T", xlabel="x"),
    "a beta of 0": lambda: plots.schedule_figure({"a": [0.0, 0.1]}, title="T"),
    "latents of fewer pictures": lambda: latents(torch.zeros(1, 4, 2, 2)),
    "latents without channels": lambda: latents(torch.zeros(2, 2, 2)),
    "too many channels": lambda: latents(torch.zeros(2, 9, 2, 2)),
    "a file of another kind": lambda: FIGURES["strip"]().save("picture.txt"),
}


@pytest.mark.parametrize("draw", REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused(draw):
    with pytest.raises(InputError, match="expected"):
        draw()


def test_both_kinds_of_pictures_become_the_same_pixels():
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    floats = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    for form in (pixels, list(pixels), floats, list(floats)):
        np.testing.assert_array_equal(as_pictures("p", form), pixels)
    beyond = torch.tensor([-3.0, 3.0, 0.0]).reshape(1, 3, 1, 1)
    assert as_pictures("p", beyond).flatten().tolist() == [0, 255, 128]


def test_the_curves_of_a_schedule_are_those_of_the_mathematics():
    betas = linear_betas(100)
    curves = schedule_curves(betas)
    alpha_bar = alphas_cumprod_of(betas)
    np.testing.assert_allclose(curves.alphas_cumprod, alpha_bar, rtol=1e-5)  # float32 betas
    np.testing.assert_allclose(curves.log10_snr, snr(alpha_bar).log10(), atol=1e-4)


def test_a_signal_of_zero_is_drawn_below_the_panel():
    curves = schedule_curves([0.1, 1.0])
    assert curves.alphas_cumprod[-1] == 0
    assert np.isfinite(curves.log10_snr).all()
    assert curves.log10_snr[-1] < -6


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_figure_is_the_same_file(tmp_path, suffix):
    first, second = (
        FIGURES["curves"]().save(tmp_path / f"{name}{suffix}").read_bytes() for name in "ab"
    )
    assert first == second


def test_pyplot_is_never_touched():
    code = (
        "import sys, numpy as np\n"
        "from tlab_diffusion import plots\n"
        "plots.curves([0, 1], {'a': [0, 1]}, title='T', xlabel='', ylabel='').png()\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Full loss of one kind of cone, on linear RGB (Machado, Oliveira, Fernandes 2009).
COLOUR_VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def lab(colour: str, vision) -> np.ndarray:
    """CIELAB coordinates of a colour "#RRGGBB" as somebody with this vision sees it."""
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = (np.asarray(vision) @ linear).clip(0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ seen / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def closest(colours: dict, vision: str) -> tuple[float, str, str]:
    """The two colours that are most alike, and how far apart they are."""
    seen = {name: lab(colour, COLOUR_VISION[vision]) for name, colour in colours.items()}
    pairs = itertools.combinations(seen, 2)
    return min((np.linalg.norm(seen[one] - seen[other]), one, other) for one, other in pairs)


CLEARLY_APART = 14  # a difference of 2.3 can just be noticed


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_colours_stay_apart_for_any_colour_vision(vision):
    distance, *names = closest(plots.PALETTE, vision)
    assert distance > CLEARLY_APART, names


def test_colours_that_look_alike_are_noticed():
    red_and_green = {"red": "#B5502F", "green": "#7A7A1F"}
    assert closest(red_and_green, "normal")[0] > CLEARLY_APART
    assert closest(red_and_green, "deuteranopia")[0] < CLEARLY_APART


def test_a_dot_is_filled_only_where_its_interval_leaves_out_zero():
    rows = {"above": (1, 0.5, 2), "around": (0.1, -1, 1), "alone": (3, None, None)}
    axes = plots.intervals(rows, title="T", xlabel="x").figure.axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [dot.get_markerfacecolor() != "white" for dot in dots] == [True, False, False]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(rows)
