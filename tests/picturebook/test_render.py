"""Pictures show their factors: every value changes them, and no pixel depends on chance."""

import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import (
    CLASSES,
    FACTORS,
    STYLES,
    VIEWS,
    Scene,
    random_scene,
    render,
    to_svg,
)

# Share of the frame that must change by more than the eye's threshold, about 1 level in 10.
# The face of a side view is some 150 pixels, and 0.6 % of the frame are 25.
VISIBLE = {"expression": 0.006, "accessory": 0.012, "pattern": 0.01, "view": 0.03}
VISIBLE |= {"colour": 0.05, "class_noun": 0.06, "place": 0.15, "style": 0.2}


def changed(one: np.ndarray, other: np.ndarray) -> float:
    """The share of pixels that differ visibly."""
    return (np.abs(one.astype(int) - other).max(axis=2) > 24).mean()


def test_the_same_scene_gives_the_same_bytes():
    for seed in range(20):
        assert np.array_equal(render(random_scene(seed)), render(random_scene(seed)))


def test_the_same_scene_gives_the_same_document_in_another_process():
    code = (
        "from tlab_diffusion.picturebook import *; print(to_svg(random_scene(3, style='pencil')))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == to_svg(random_scene(3, style="pencil"))


@pytest.mark.parametrize("class_noun", CLASSES)
@pytest.mark.parametrize("view", VIEWS)
def test_every_factor_changes_the_picture(class_noun, view):
    scene = random_scene(CLASSES.index(class_noun), held_out=None, class_noun=class_noun, view=view)
    scene = replace(scene, accessory=None)
    for name in scene.visible_factors():
        pictures = [
            render(replace(scene, **{name: value}))
            for value in FACTORS[name] + ((None,) if name == "accessory" else ())
            if not (view == "back" and value == "glasses")
        ]
        for i, one in enumerate(pictures):
            for other in pictures[:i]:
                assert changed(one, other) > VISIBLE[name], name


def test_from_behind_expression_and_glasses_leave_no_trace():
    scene = Scene("dog", "blue", view="back", expression="sad")
    assert to_svg(scene) == to_svg(replace(scene, expression="happy"))
    assert to_svg(scene) == to_svg(replace(scene, accessory="glasses"))


@pytest.mark.parametrize("class_noun", CLASSES)
def test_members_of_a_class_vary(class_noun):
    scene = Scene(class_noun, "red")
    pictures = [render(replace(scene, shape=shape)) for shape in range(6)]
    pairs = [changed(a, b) for i, a in enumerate(pictures) for b in pictures[:i]]
    assert np.mean(pairs) > 0.06 and min(pairs) > 0.02


@pytest.mark.parametrize("style", STYLES)
def test_a_small_picture_is_the_large_one_seen_from_afar(style):
    for seed in range(4):
        scene = random_scene(seed, style=style)
        large = render(scene, 512).reshape(64, 8, 64, 8, 3).mean(axis=(1, 3))
        # Anti-aliasing of thin lines differs a little: about one level in a hundred.
        assert np.abs(large - render(scene, 64)).mean() < 5


def test_a_large_picture_is_sharp():
    scene = Scene("robot", "turquoise")
    large = render(scene, 512).astype(float)
    blown_up = render(scene, 64).repeat(8, axis=0).repeat(8, axis=1)
    edges = np.abs(np.diff(large, axis=1)).max()
    assert large.shape == (512, 512, 3) and edges > 150
    assert np.abs(large - blown_up).mean() > 2


@pytest.mark.parametrize("place", FACTORS["place"])
@pytest.mark.parametrize("colour", FACTORS["colour"])
def test_the_character_stands_out_from_the_place(place, colour):
    scene = Scene("bear", colour, place=place, view="back", x=0.5, y=0.86)
    away = replace(scene, x=0.0, size=0.3, y=1.0)
    with_bear, without = render(scene).astype(float), render(away).astype(float)
    stands_out = np.abs(with_bear - without).max(axis=2) > 30
    assert stands_out[20:56, 16:48].mean() > 0.5


def test_every_document_is_valid_and_stands_alone():
    for seed in range(40):
        root = ElementTree.fromstring(to_svg(random_scene(seed)))
        assert root.get("viewBox") == "0 0 100 100"
        ids = [element.get("id") for element in root.iter() if element.get("id")]
        assert all("http" not in value for e in root.iter() for value in e.attrib.values())
        used = to_svg(random_scene(seed)).split("url(#")[1:]
        assert {piece.split(")")[0] for piece in used} <= set(ids)


def test_characters_stay_in_the_frame():
    """The border of the frame is the place's own, whoever stands in it."""
    for seed in range(60):
        scene = random_scene(seed, style="cartoon", accessory=None)
        away = render(replace(scene, class_noun="bird", size=0.3))
        touched = np.abs(render(scene).astype(int) - away).max(axis=2) > 30
        edge = np.concatenate([touched[0], touched[:, 0], touched[:, -1]])
        assert edge.mean() < 0.08, seed


@pytest.mark.parametrize("size", [0, 7, 4096, 64.0, "64", True, None])
def test_a_bad_size_is_refused(size):
    with pytest.raises(InputError, match="size"):
        render(Scene("cat", "red"), size)
