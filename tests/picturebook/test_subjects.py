"""Subjects: five references each, unlike one another and unlike any member of their class."""

from dataclasses import replace

import numpy as np
import pytest

from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import (
    SUBJECTS,
    Scene,
    caption,
    is_held_out,
    parse,
    random_scene,
    render,
    subject_pictures,
    subject_scene,
    subject_scenes,
)


def test_there_are_enough_subjects_of_different_classes():
    assert len(SUBJECTS) >= 8
    assert len({subject.class_noun for subject in SUBJECTS.values()}) >= 8
    assert all(name == subject.name for name, subject in SUBJECTS.items())


@pytest.mark.parametrize("name", SUBJECTS)
def test_references_lie_in_different_places_and_poses(name):
    scenes = subject_scenes(name)
    assert len(scenes) == 5 and len({scene.place for scene in scenes}) == 5
    assert len({(scene.x, scene.tilt, scene.size) for scene in scenes}) == 5
    assert len({scene.shape for scene in scenes}) == 1
    assert {scene.class_noun for scene in scenes} == {SUBJECTS[name].class_noun}
    assert scenes == subject_scenes(name)
    pictures = subject_pictures(name, 64)
    pairs = [
        np.abs(a.astype(float) - b).mean() for i, a in enumerate(pictures) for b in pictures[:i]
    ]
    assert min(pairs) > 20


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("view", ["front", "side", "back"])
def test_a_subject_looks_like_no_member_of_its_class(name, view):
    """Its nearest member, in the same place and pose, is further off than members usually are."""
    subject = Scene(
        SUBJECTS[name].class_noun,
        SUBJECTS[name].colour,
        view=view,
        shape=SUBJECTS[name].shape,
        subject=name,
    )
    members = [
        render(replace(subject, subject=None, shape=shape)).astype(float) for shape in range(30)
    ]
    own = render(subject)
    nearest = min(np.abs(own - member).mean() for member in members)
    between = np.median([np.abs(a - b).mean() for a, b in zip(members, members[1:], strict=False)])
    # Members differ all over, by an outline here and there; a marking differs in one place.
    strongest = min((np.abs(own - member).max(axis=2) > 60).mean() for member in members)
    assert nearest > 0.5 * between and strongest > 0.02


def test_a_subject_can_be_put_anywhere():
    scene = subject_scene("pip", 3, place="moon", accessory="crown", view="back", colour="red")
    assert (scene.place, scene.accessory, scene.view, scene.colour) == (
        *("moon", "crown", "back", "red"),
    )
    assert scene.subject == "pip" and scene == subject_scene(
        *("pip", 3), place="moon", accessory="crown", view="back", colour="red"
    )
    assert parse(caption(scene, identifier="zwx")).identifier == "zwx"


def test_random_scenes_never_show_a_subject():
    assert all(random_scene(seed).subject is None for seed in range(200))


def test_subjects_have_colours_that_their_class_is_trained_on():
    for name in SUBJECTS:
        assert any(not is_held_out(scene) for scene in subject_scenes(name))


def test_an_unknown_subject_is_refused():
    with pytest.raises(InputError, match="pip"):
        subject_scenes("nobody")
