"""Scenes are functions of their seed, within the world, and outside the held-out part of it."""

import itertools
from collections import Counter

import pytest

from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import (
    CLASSES,
    COLOURS,
    FACTORS,
    PLACES,
    Scene,
    is_held_out,
    random_scene,
    subject_scene,
)


def test_a_seed_gives_the_same_scene_and_another_seed_another():
    assert [random_scene(seed) for seed in range(50)] == [random_scene(seed) for seed in range(50)]
    assert len({random_scene(seed) for seed in range(50)}) == 50


def test_the_world_is_as_large_as_promised():
    least = {
        "class_noun": 12,
        "colour": 10,
        "pattern": 4,
        "place": 12,
        "accessory": 6,
        "expression": 4,
        "view": 3,
        "style": 4,
    }
    assert all(len(FACTORS[name]) >= number for name, number in least.items())


def test_held_out_scenes_are_never_drawn_unless_asked_for():
    assert not any(is_held_out(random_scene(seed)) for seed in range(3000))
    assert all(is_held_out(random_scene(seed, held_out=True)) for seed in range(100))
    both = {is_held_out(random_scene(seed, held_out=None)) for seed in range(100)}
    assert both == {True, False}


def test_one_colour_a_class_and_a_tenth_of_the_triples_are_held_out():
    held_out = {
        triple: is_held_out(Scene(triple[0], triple[1], place=triple[2]))
        for triple in itertools.product(CLASSES, COLOURS, PLACES)
    }
    pairs = {
        pair: all(held_out[(*pair, place)] for place in PLACES)
        for pair in itertools.product(CLASSES, COLOURS)
    }
    assert Counter(noun for noun, colour in pairs if pairs[noun, colour]) == dict.fromkeys(
        CLASSES, 1
    )
    rest = [held_out[triple] for triple in held_out if not pairs[triple[:2]]]
    assert 0.09 < sum(rest) / len(rest) < 0.11


def test_every_value_and_every_pair_with_a_class_is_still_met_often():
    scenes = [random_scene(seed) for seed in range(6000)]
    for name, values in FACTORS.items():
        counts = Counter(getattr(scene, name) for scene in scenes)
        assert min(counts[value] for value in values) > 200, (name, counts)
    colours = {(scene.class_noun, scene.colour) for scene in scenes}
    assert len(colours) == len(CLASSES) * (len(COLOURS) - 1)
    assert len({(scene.class_noun, scene.place) for scene in scenes}) == len(CLASSES) * len(PLACES)


def test_fixed_factors_stay_fixed():
    scene = random_scene(5, class_noun="dog", place="moon", accessory=None)
    assert (scene.class_noun, scene.place, scene.accessory) == ("dog", "moon", None)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Scene("unicorn", "red"),
        lambda: Scene("cat", "mauve"),
        lambda: Scene("cat", None),
        lambda: Scene("cat", "red", size=9),
        lambda: Scene("cat", "red", x="left"),
        lambda: Scene("cat", "red", tilt=float("nan")),
        lambda: Scene("cat", "red", flip=3),
        lambda: Scene("cat", "red", shape=-1),
        lambda: Scene("cat", "red", subject="nobody"),
        lambda: Scene("cat", "red", subject="pip"),
        lambda: random_scene("zero"),
        lambda: random_scene(-1),
        lambda: random_scene(1, held_out=True, class_noun="dog", colour="orange", place="sea"),
        lambda: random_scene(1, mood="happy"),
        lambda: subject_scene("nobody", 0),
        lambda: subject_scene("pip", 0, class_noun="cat"),
        lambda: subject_scene("pip", 0, place="mars"),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError):
        call()
