"""Oddities: parts that no member has, the same wherever a character goes, and never by chance."""

from dataclasses import replace

import numpy as np
import pytest

from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import CLASSES, VIEWS, Scene, random_scene, render


@pytest.mark.parametrize("class_noun", CLASSES)
@pytest.mark.parametrize("view", VIEWS)
def test_an_oddity_shows_and_belongs_to_the_character(class_noun, view):
    plain = random_scene(7, held_out=None, class_noun=class_noun, view=view, style="cartoon")
    odd = replace(plain, oddity=3)
    changed = (render(odd) != render(plain)).any(axis=2)
    assert 0.01 < changed.mean() < 0.5
    assert np.array_equal(render(odd), render(replace(plain, oddity=3)))
    # It goes where the character goes.
    moved = replace(plain, x=plain.x + 8 / 64, tilt=0.0), replace(plain, tilt=0.0)
    here, there = ((render(replace(s, oddity=3)) != render(s)).any(axis=2) for s in reversed(moved))
    # Where both are in the frame; the shadow and half pixels differ a little.
    assert (here[:, :-8] != there[:, 8:]).mean() < 0.05


def test_seeds_give_different_oddities():
    scene = Scene("cat", "white")
    pictures = [render(replace(scene, oddity=seed)).tobytes() for seed in range(30)]
    assert len({render(scene).tobytes(), *pictures}) == 31


def test_no_random_scene_has_any():
    assert all(random_scene(seed).oddity is None for seed in range(200))


@pytest.mark.parametrize("seed", [-1, 1.5, True, "a"])
def test_a_seed_of_oddities_is_a_number_from_0_up(seed):
    with pytest.raises(InputError, match="oddity.*an integer from 0 up"):
        Scene("cat", "white", oddity=seed)
