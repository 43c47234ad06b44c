"""The subjects: characters that no random scene shows.

Each belongs to a class, and has a shape and a marking that no member of the class can have.
"""

from dataclasses import dataclass

from tlab_diffusion.errors import InputError


@dataclass(frozen=True)
class Subject:
    """Who a subject is.

    Args:
        name: its name, as in `subject_scenes("pip")`.
        class_noun: the class that it belongs to.
        colour: the colour that it has unless told otherwise.
        shape: seed of its proportions, the same in every picture.
        description: one line about what sets it apart.
        places: where its five reference pictures were taken.
    """

    name: str
    class_noun: str
    colour: str
    shape: int
    description: str
    places: tuple[str, str, str, str, str]


_CAST = (
    Subject("pip", "robot", "turquoise", 0,
            "a bell-shaped wind-up robot with two yellow feelers and a gold star on its belly",
            ("meadow", "snow", "beach", "city", "desert")),
    Subject("mochi", "cat", "white", 3,
            "a cat with three blue-tipped tails and a gold moon on its forehead",
            ("room", "forest", "meadow", "night", "beach")),
    Subject("petal", "dragon", "green", 4,
            "a dragon with a mane of orange petals and a ladybird's spots on its wings",
            ("meadow", "stage", "desert", "room", "city")),
    Subject("antler", "bear", "blue", 2,
            "a bear with branching antlers and a white heart on its chest and back",
            ("forest", "snow", "beach", "rain", "room")),
    Subject("tock", "bird", "pink", 1,
            "a bird with a propeller on its head and a clock on its belly",
            ("city", "meadow", "stage", "sea", "snow")),
    Subject("lumi", "fish", "purple", 6,
            "a fish with a lantern over its head and a yellow zigzag around its middle",
            ("sea", "moon", "night", "beach", "rain")),
    Subject("humphrey", "teapot", "red", 5,
            "a teapot with an elephant's ears and a golden belt of blue beads",
            ("room", "forest", "snow", "desert", "meadow")),
    Subject("dash", "rabbit", "yellow", 8,
            "a rabbit that carries a blue snail shell with a pink spiral",
            ("beach", "forest", "city", "moon", "meadow")),
    Subject("yaga", "house", "orange", 7,
            "a house that walks on chicken legs, with a heart on its roof",
            ("forest", "snow", "night", "meadow", "city")),
    Subject("buzz", "car", "black", 9,
            "a car with a bee's wings, feelers and yellow bands",
            ("meadow", "city", "desert", "stage", "rain")),
)  # fmt: skip
SUBJECTS = {subject.name: subject for subject in _CAST}


def check_subject(name: object) -> Subject:
    """Finds a subject by its name, or refuses the name."""
    if not isinstance(name, str) or name not in SUBJECTS:
        raise InputError("subject", got=repr(name), expected=f"one of {', '.join(SUBJECTS)}")
    return SUBJECTS[name]
