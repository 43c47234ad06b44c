"""What tuned models are asked for: every prompt says what it expects, and nothing more."""

from collections import Counter

import pytest

from tlab_diffusion.evaluation.subject_prompts import (
    CHANGES,
    CONTEXTS,
    PER_USE,
    prompts_for,
    ten_prompts,
)
from tlab_diffusion.picturebook import SUBJECTS, Scene, parse
from tlab_diffusion.picturebook.grammar import ORDINARY


@pytest.mark.parametrize("identifier", ["zwx", "ojq"])
def test_a_prompt_says_what_it_expects(identifier):
    prompts = prompts_for(identifier, "robot")
    assert Counter(prompt.use for prompt in prompts) == dict.fromkeys(CHANGES, PER_USE)
    assert len({prompt.text for prompt in prompts}) == len(prompts)
    for prompt in prompts:
        told = parse(prompt.text)
        assert told.factors == {**prompt.expected, "class_noun": "robot"}
        assert told.identifier == identifier and not told.unknown_words
        told = parse(prompt.plain)
        assert told.factors == {**prompt.expected, "class_noun": "robot"}
        assert told.identifier is None and not told.unknown_words


def test_every_use_changes_what_it_is_about():
    changed = {use: set() for use in CHANGES}
    for prompt in prompts_for("zwx", "robot"):
        changed[prompt.use] |= {name for name in prompt.expected if name != "place"}
        scene = Scene(**{"class_noun": "robot", "colour": "white", **prompt.expected})
        visible = scene.visible_factors()
        assert prompt.expected.items() <= visible.items()  # a recogniser can find it
        # What is ordinary comes without asking.
        assert not prompt.expected.items() & {**ORDINARY, "pattern": "plain"}.items()
    assert changed.pop("context") == set()
    assert changed.pop("property") == {"colour", "pattern"}
    assert changed == {use: {use} for use in changed}


def test_articles_and_class_nouns():
    texts = [(each.text, each.plain) for each in prompts_for("ojq", "robot")]
    assert texts[0] == ("an ojq robot on the moon", "a robot on the moon")
    texts = [(each.text, each.plain) for each in prompts_for("sks", "backpack")]
    assert texts[0] == ("a sks backpack on the moon", "a backpack on the moon")
    # What the model learnt is one thing, what the picture should be another.
    texts = [(each.text, each.plain) for each in prompts_for("zwx", "robot", "")]
    assert texts[0] == ("a zwx on the moon", "a robot on the moon")
    texts = [(each.text, each.plain) for each in ten_prompts("zwx", "robot", prompt_noun="fish")]
    assert texts[0] == ("a zwx fish on the moon", "a robot on the moon")


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_short_list_asks_for_what_no_reference_shows(name):
    subject = SUBJECTS[name]
    prompts = ten_prompts("zwx", subject.class_noun, subject.places, subject.colour)
    uses = Counter(prompt.use for prompt in prompts)
    assert len(prompts) == len({prompt.text for prompt in prompts}) == 10
    assert set(uses) == set(CHANGES) and uses["context"] == 5
    for prompt in prompts:
        assert prompt.expected.get("place") not in subject.places
        assert prompt.expected.get("colour") != subject.colour


@pytest.mark.parametrize("known", [(), CONTEXTS[:7], CONTEXTS])
def test_the_short_list_is_as_long_wherever_the_subject_has_been(known):
    prompts = ten_prompts("zwx", "robot", known)
    others = ["accessory", "style", "expression", "view", "property"]
    assert [prompt.use for prompt in prompts] == ["context"] * 5 + others
    new = [place for place in CONTEXTS if place not in known][:5]
    assert [prompt.expected["place"] for prompt in prompts[: len(new)]] == new
