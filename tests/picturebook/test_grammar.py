"""Captions say what the scene shows, and reading them gives it back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import (
    FACTORS,
    IDENTIFIERS,
    Scene,
    caption,
    parse,
    random_scene,
    scene_from_caption,
)

SEEDS = st.integers(0, 10**9)


@settings(max_examples=400, deadline=None)
@given(seed=SEEDS, data=st.data())
def test_reading_a_caption_gives_the_mentioned_factors(seed, data):
    scene = random_scene(seed, held_out=None)
    visible = {name: value for name, value in scene.visible_factors().items() if value}
    mention = data.draw(st.sets(st.sampled_from(sorted(visible))))
    identifier = data.draw(st.none() | st.sampled_from(IDENTIFIERS))
    parsed = parse(caption(scene, mention=mention, identifier=identifier))
    assert parsed.factors == {name: visible[name] for name in mention | {"class_noun"}}
    assert parsed.identifier == identifier
    assert parsed.unknown_words == []


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, shuffle=st.randoms())
def test_the_order_of_words_does_not_matter(seed, shuffle):
    scene = random_scene(seed, style="cartoon", accessory="crown")
    words = caption(scene).replace(",", "").split()
    shuffle.shuffle(words)
    assert parse(" ".join(words)).factors == parse(caption(scene)).factors


def test_a_caption_reads_like_a_sentence():
    scene = Scene("cat", "purple", "striped", accessory="crown", place="snow", expression="sad")
    assert caption(scene) == "a sad striped purple cat wearing a crown in the snow"
    assert caption(scene, mention=["colour"]) == "a purple cat"
    assert caption(scene, mention=[], identifier="zwx") == "a zwx cat"
    behind = Scene("fish", "orange", view="back", style="watercolour", place="night")
    named = ["style", "colour", "place", "view"]
    expected = "a watercolour of an orange fish at night, seen from behind"
    assert caption(behind, mention=named) == expected


def test_every_value_of_every_factor_is_understood_alone():
    for name, values in FACTORS.items():
        for value in values:
            assert parse(value).factors == {name: value}


def test_words_that_mean_nothing_are_reported():
    parsed = parse("A blue unicorn, and a red cat!")
    assert parsed.factors == {"colour": "blue", "class_noun": "cat"}
    assert parsed.unknown_words == ["unicorn", "red"]


def test_training_captions_leave_factors_out_and_carry_rare_identifiers():
    scenes = [random_scene(seed) for seed in range(4000)]
    parsed = [parse(caption(scene, seed=seed)) for seed, scene in enumerate(scenes)]
    assert all(not words.unknown_words for words in parsed)
    assert 0.012 < sum(p.identifier is not None for p in parsed) / 4000 < 0.03
    for name in ("expression", "pattern", "colour", "place"):
        assert 0.3 < sum(name in p.factors for p in parsed) / 4000 < 0.9, name
    unusual = [
        "style" in p.factors
        for p, scene in zip(parsed, scenes, strict=True)
        if scene.style != "cartoon"
    ]
    assert sum(unusual) / len(unusual) > 0.9


def test_some_training_captions_name_the_class_alone():
    scenes = [random_scene(seed) for seed in range(4000)]
    alone = [parse(caption(scene, seed=seed)).factors for seed, scene in enumerate(scenes)]
    # One in twenty, within five standard deviations of a binomial share.
    assert 0.033 < sum(set(factors) == {"class_noun"} for factors in alone) / 4000 < 0.07


def test_identifiers_mean_nothing_else():
    words = {word for values in FACTORS.values() for value in values for word in value.split()}
    assert len(set(IDENTIFIERS)) >= 16
    assert not words & set(IDENTIFIERS)
    assert all(3 <= len(identifier) <= 5 for identifier in IDENTIFIERS)


def test_a_view_from_behind_shows_neither_expression_nor_glasses():
    scene = Scene("cat", "red", view="back", accessory="glasses", expression="sad")
    assert "expression" not in scene.visible_factors()
    assert scene.visible_factors()["accessory"] is None
    for seed in range(60):
        parsed = parse(caption(scene, seed=seed))
        assert not {"expression", "accessory"} & set(parsed.factors)
    with pytest.raises(InputError, match="expression"):
        caption(scene, mention=["expression"])


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, other=SEEDS)
def test_a_scene_from_a_caption_shows_what_the_caption_says(seed, other):
    text = caption(random_scene(seed, held_out=None), seed=seed)
    scene = scene_from_caption(text, other)
    assert parse(text).factors.items() <= scene.visible_factors().items()
    assert scene == scene_from_caption(text, other)


def test_unnamed_style_and_view_are_the_ordinary_ones():
    scenes = [scene_from_caption("a robot", seed) for seed in range(30)]
    assert {(scene.style, scene.view) for scene in scenes} == {("cartoon", "front")}
    assert len({scene.colour for scene in scenes}) > 5


@pytest.mark.parametrize("text", ["", "   ", None, 7])
def test_an_empty_caption_is_refused(text):
    with pytest.raises(InputError, match="caption"):
        scene_from_caption(text, 0)
