"""Is it the subject, is it a copy, and who is it: judged by an oracle that knows."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.evaluation.oracle import Oracle
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation import identity
from tlab_diffusion.evaluation.identity import (
    MEMBERS,
    SubjectReferences,
    copies,
    gallery,
    identify_subject,
    is_subject,
    perfect,
    picturebook_subject,
    strangers,
)
from tlab_diffusion.picturebook import (
    PLACES,
    SUBJECTS,
    draw_caption,
    render,
    subject_pictures,
    subject_scene,
)


@pytest.fixture
def oracle(monkeypatch):
    oracle = Oracle()
    monkeypatch.setattr(identity, "render_scenes", oracle.draw)
    return oracle


def as_jpeg(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=50)
    return np.array(Image.open(file))


def test_the_gallery_holds_all_subjects_and_members_of_the_colour(oracle):
    target = picturebook_subject("mochi")
    seen = []
    among = gallery(target, lambda x: seen.append(x) or oracle.identity(x))
    scenes = oracle.scenes(seen[0])
    assert [scene.subject for scene in scenes[:5]] == ["mochi"] * 5
    assert among.of_subject.tolist() == [True] * 5 + [False] * (len(scenes) - 5)
    others = [scene.subject for scene in scenes[5:-MEMBERS]]
    assert sorted(others) == sorted(name for name in SUBJECTS if name != "mochi" for _ in range(5))
    members = scenes[-MEMBERS:]
    assert {(s.class_noun, s.colour, s.subject) for s in members} == {("cat", "white", None)}
    assert len({scene.shape for scene in members}) == MEMBERS
    torch.testing.assert_close(among.features.norm(dim=1), torch.ones(len(scenes)))


def test_the_nearest_neighbour_tells(oracle):
    target = picturebook_subject("pip")
    among = gallery(target, oracle.identity)
    asked = [{"place": place} for place in PLACES]
    assert is_subject(oracle.identity(perfect(target, asked)), among).all()
    assert not is_subject(oracle.identity(strangers(target, asked)), among).any()
    other = np.stack(subject_pictures("mochi"))
    assert not is_subject(oracle.identity(other), among).any()
    unit = torch.eye(4)
    two = identity.Gallery(unit[:2], torch.tensor([True, False]))
    features = 7 * torch.stack([unit[0] + 0.9 * unit[1], 0.9 * unit[0] + unit[1] + unit[2]])
    assert is_subject(features, two).tolist() == [True, False]


def test_strangers_and_the_perfect_model_do_as_they_are_told(oracle):
    target = picturebook_subject("dash")
    asked = [{"place": "moon", "view": "back"}, {"colour": "red"}, {"accessory": "crown"}]
    for scene, wanted in zip(oracle.scenes(perfect(target, asked)), asked, strict=True):
        assert scene.subject == "dash" and wanted.items() <= vars(scene).items()
    members = gallery(target, oracle.identity).features[-MEMBERS:]
    pictures = strangers(target, asked)
    for scene, wanted in zip(oracle.scenes(pictures), asked, strict=True):
        assert scene.subject is None and scene.class_noun == "rabbit"
        assert wanted.items() <= vars(scene).items()
    features = torch.nn.functional.normalize(oracle.identity(pictures), dim=1)
    assert (features @ members.T).max() < 0.9  # strangers are no members of the gallery


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_copy_is_a_copy_and_another_place_is_not(name):
    references = np.stack(subject_pictures(name))
    again = [as_jpeg(picture) for picture in references]
    assert copies(np.stack(again), references).all()
    assert copies(np.stack(subject_pictures(name, 256)), references).all()
    new = [place for place in PLACES if place not in SUBJECTS[name].places]
    new_places = [
        render(subject_scene(name, pose, place=place)) for pose in (0, 1) for place in new
    ]
    assert not copies(np.stack(new_places), references).any()


def test_another_pose_is_hardly_ever_a_copy():
    found = []
    for name, subject in SUBJECTS.items():
        poses = [subject_scene(name, 30 + i, place=place) for i, place in enumerate(subject.places)]
        pictures = np.stack([render(scene) for scene in poses])
        found += copies(pictures, np.stack(subject_pictures(name))).tolist()
    assert np.mean(found) <= 0.06


def test_a_subject_of_the_picture_book_is_known_by_its_pictures():
    some = np.stack(subject_pictures("yaga", 128)[1:4])
    target = identify_subject(some, "house")
    assert (target.name, target.colour) == ("yaga", "orange")
    assert target.places == SUBJECTS["yaga"].places and len(target.references) == 3
    assert target.size == 128 and target.of_this_world
    assert identify_subject(some, "House").name == "yaga"  # capitals mean nothing to a tokenizer
    assert identify_subject(some, "robot").name is None  # no robot looks like this
    mixed = np.stack([*subject_pictures("yaga")[:4], subject_pictures("pip")[0]])
    assert identify_subject(mixed, "house").name is None


def test_a_newcomer_is_described_by_the_recogniser():
    pictures = np.stack(draw_caption("a red robot on the moon", 64, num=3))
    seen = {"colour": ["red", "blue", "red"], "place": ["moon", "moon", "sea"]}
    target = identify_subject(pictures, "robot", lambda x: seen)
    assert (target.name, target.colour, target.places) == (None, "red", ("moon", "moon", "sea"))
    assert target.of_this_world
    for stranger in (
        identify_subject(pictures, "robot"),
        identify_subject(pictures, "backpack", lambda x: seen),
    ):
        assert stranger.colour is None and not stranger.of_this_world
    assert isinstance(stranger, SubjectReferences)


def test_what_is_refused():
    with pytest.raises(InputError, match="references: got"):
        identify_subject(np.empty((0, 64, 64, 3), np.uint8), "robot")
    with pytest.raises(InputError, match="class_noun: got ''"):
        identify_subject(np.stack(subject_pictures("pip")), "")
    with pytest.raises(InputError, match="subject: got 'nobody'"):
        picturebook_subject("nobody")
