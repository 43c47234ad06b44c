r"""Captions: from a scene to a sentence, and from a sentence back to factors.

A caption is built in one order,

    a STYLE of a EXPRESSION PATTERN COLOUR IDENTIFIER CLASS ACCESSORY PLACE, VIEW

with any part but the class left out: "a watercolour of a happy striped purple cat wearing a crown
in the snow, seen from the side". `parse` looks for the telling words alone, so it takes them in
any order.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook.factors import FACTORS, IDENTIFIERS
from tlab_diffusion.picturebook.scene import Scene, check_seed, random_scene

PLACE_PHRASES = {
    "meadow": "in a meadow",
    "snow": "in the snow",
    "beach": "on the beach",
    "forest": "in the forest",
    "desert": "in the desert",
    "city": "in the city",
    "night": "at night",
    "sea": "under the sea",
    "moon": "on the moon",
    "room": "in a living room",
    "stage": "on a stage",
    "rain": "in the rain",
}
ACCESSORY_PHRASES = {
    "crown": "wearing a crown",
    "top hat": "wearing a top hat",
    "glasses": "wearing glasses",
    "scarf": "wearing a scarf",
    "balloon": "holding a balloon",
    "flower": "wearing a flower",
}
VIEW_PHRASES = {
    "front": "seen from the front",
    "side": "seen from the side",
    "back": "seen from behind",
}
STYLE_PHRASES = {
    "cartoon": "a cartoon of",
    "watercolour": "a watercolour of",
    "pencil": "a pencil drawing of",
    "stained glass": "a stained glass window of",
}

# Other words that people use for the same thing.
SYNONYMS = {
    ("behind",): ("view", "back"),
    ("snowy",): ("place", "snow"),
    ("underwater",): ("place", "sea"),
    ("rainy",): ("place", "rain"),
    ("watercolor",): ("style", "watercolour"),
    ("hat",): ("accessory", "top hat"),
}
TELLING = {
    tuple(value.split()): (name, value) for name, values in FACTORS.items() for value in values
} | SYNONYMS
FILLERS = {
    *("a", "an", "the", "of", "in", "on", "at", "under", "with", "and", "from"),
    *("wearing", "holding", "seen", "living", "drawing", "window", "picture", "painting"),
}

# How often a training caption names a factor. What is out of the ordinary (a view or a style) is
# nearly always named, so that a caption without it means the ordinary one. Now and then the class
# stands alone: "a robot" then means all robots.
BARE_SHARE = 0.05
MENTION_SHARE = {"expression": 0.8, "pattern": 0.8, "colour": 0.8, "accessory": 0.9, "place": 0.8}
ORDINARY = {"style": "cartoon", "view": "front"}
ORDINARY_SHARE, UNUSUAL_SHARE = 0.1, 0.95
IDENTIFIER_SHARE = 0.02


@dataclass(frozen=True)
class Parsed:
    """What a sentence says.

    Args:
        factors: the factors that are named, with their values.
        identifier: a rare token such as "zwx", or None.
        unknown_words: words that mean nothing here, and values of a factor already named.
    """

    factors: dict[str, str]
    identifier: str | None = None
    unknown_words: list[str] = field(default_factory=list)


def caption(
    scene: Scene,
    mention: Iterable[str] | None = None,
    seed: int | None = None,
    identifier: str | None = None,
) -> str:
    r"""Describes a scene in words.

    Args:
        scene: what to describe.
        mention: names of the factors to put into words (the class always is). By default all that
            the picture shows, but for an ordinary style and view.
        seed: draws the mentioned factors, and now and then a rare identifier, at random, as for
            training; use it instead of `mention`.
        identifier: a rare token set before the class, as in "a zwx robot".

    Returns:
        one sentence without a full stop.

    Raises:
        InputError: a factor that the picture does not show, or both `mention` and `seed`.
    """
    visible = {name: value for name, value in scene.visible_factors().items() if value}
    if seed is not None:
        if mention is not None:
            raise InputError("caption", got="both mention and seed", expected="one of them")
        rng = random.Random(f"caption {check_seed(seed)}")
        if rng.random() < BARE_SHARE:
            mention = []
        else:
            shares = {name: _mention_share(name, value) for name, value in visible.items()}
            mention = [name for name, share in shares.items() if rng.random() < share]
        if identifier is None and rng.random() < IDENTIFIER_SHARE:
            identifier = rng.choice(IDENTIFIERS)
    elif mention is None:
        mention = [name for name in visible if visible[name] != ORDINARY.get(name)]
    named = {*mention, "class_noun"}
    hidden = sorted(named - set(visible))
    if hidden:
        known = ", ".join(visible)
        raise InputError("mention", got=", ".join(hidden), expected=f"some of {known}")
    return sentence({name: visible[name] for name in named}, identifier)


def _mention_share(name: str, value: str) -> float:
    if name in ORDINARY and value == ORDINARY[name]:
        return ORDINARY_SHARE
    return MENTION_SHARE.get(name, UNUSUAL_SHARE)


def sentence(named: Mapping[str, str], identifier: str | None = None) -> str:
    r"""Puts factors into words; the class noun may be any word, also one of no picture book."""
    adjectives = [named.get(name) for name in ("expression", "pattern", "colour")]
    noun = " ".join(word for word in [*adjectives, identifier, named["class_noun"]] if word)
    article = "an" if noun[0] in "aeiou" else "a"
    parts = [
        STYLE_PHRASES.get(named.get("style"), ""),
        f"{article} {noun}",
        ACCESSORY_PHRASES.get(named.get("accessory"), ""),
        PLACE_PHRASES.get(named.get("place"), ""),
    ]
    view = f", {VIEW_PHRASES[named['view']]}" if "view" in named else ""
    return " ".join(part for part in parts if part) + view


def parse(text: str) -> Parsed:
    r"""Reads the factors that a sentence names, in any order.

    A second value of a factor ("a red blue cat") is not obeyed and counts as unknown.

    Raises:
        InputError: an empty caption, or not a string.
    """
    if not isinstance(text, str) or not text.strip():
        fix = 'Write something like "a striped purple cat in the snow".'
        raise InputError("caption", got=repr(text), expected="a sentence", fix=fix)
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    factors, unknown, identifier = {}, [], None
    while words:
        phrase = tuple(words[:2]) if tuple(words[:2]) in TELLING else tuple(words[:1])
        words = words[len(phrase) :]
        if phrase in TELLING:
            name, value = TELLING[phrase]
            understood = factors.setdefault(name, value) == value
        elif phrase[0] in IDENTIFIERS and identifier is None:
            identifier, understood = phrase[0], True
        else:
            understood = phrase[0] in FILLERS
        if not understood:
            unknown.append(" ".join(phrase))
    return Parsed(factors, identifier, unknown)


def scene_from_caption(text: str, seed: int = 0) -> Scene:
    r"""Draws a scene that a caption describes: named factors as told, the others at random.

    A style or view that is not named is the ordinary one: a cartoon, seen from the front.

    Raises:
        InputError: an empty caption, not a string, or a bad seed.
    """
    return random_scene(seed, held_out=None, **(ORDINARY | parse(text).factors))
