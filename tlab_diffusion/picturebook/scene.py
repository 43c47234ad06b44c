"""A scene: everything that a picture shows, as a handful of words and numbers."""

import random
from dataclasses import dataclass
from numbers import Integral

from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook.cast import check_subject
from tlab_diffusion.picturebook.factors import FACTORS, check_factor
from tlab_diffusion.picturebook.heldout import is_held_out_combination

# How often each value is drawn; factors that are not listed are drawn evenly.
WEIGHTS = {
    "style": (60, 14, 13, 13),
    "view": (60, 22, 18),
    "pattern": (40, 20, 20, 20),
}
ACCESSORY_SHARE = 0.55
LIMITS = {"x": (0.0, 1.0), "y": (0.0, 1.0), "size": (0.3, 1.5), "tilt": (-45.0, 45.0)}


@dataclass(frozen=True)
class Scene:
    r"""One picture of the world, before it is drawn.

    Args:
        class_noun, colour, pattern, view, expression, accessory, place, style: factors, each one
            of the words in `factors.FACTORS`; `accessory` may be None.
        x: where the character stands, as a fraction of the width.
        y: where its feet are, as a fraction of the height, from the top.
        size: 1 is about 60 % of the frame's height.
        tilt: rotation in degrees, clockwise.
        flip: mirrors the character (a side view then looks to the left).
        shape: seed of the body's proportions, which tells the members of a class apart.
        setting: seed of the arrangement of the place (clouds, trees, windows).
        subject: name of a subject of `SUBJECTS`, or None for a nameless member of the class.
        oddity: seed of parts and markings that no member has, or None for none; no random scene
            has any.

    Raises:
        InputError: a factor or a number that cannot be drawn.
    """

    class_noun: str
    colour: str
    pattern: str = "plain"
    view: str = "front"
    expression: str = "happy"
    accessory: str | None = None
    place: str = "meadow"
    style: str = "cartoon"
    x: float = 0.5
    y: float = 0.86
    size: float = 1.0
    tilt: float = 0.0
    flip: bool = False
    shape: int = 0
    setting: int = 0
    subject: str | None = None
    oddity: int | None = None

    def __post_init__(self):
        for name in FACTORS:
            check_factor(name, getattr(self, name))
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not low <= value <= high
            ):
                raise InputError(name, got=repr(value), expected=f"a number from {low} to {high}")
        if not isinstance(self.flip, bool):
            raise InputError("flip", got=repr(self.flip), expected="True or False")
        for name in ("shape", "setting"):
            check_seed(getattr(self, name), name)
        if self.oddity is not None:
            check_seed(self.oddity, "oddity")
        if self.subject is not None:
            class_noun = check_subject(self.subject).class_noun
            if self.class_noun != class_noun:
                expected = f"{class_noun}, the class of {self.subject}"
                raise InputError("class_noun", got=self.class_noun, expected=expected)

    def visible_factors(self) -> dict[str, str | None]:
        """The factors that the picture shows, and that a caption may therefore name.

        From behind there is no face: the expression is left out, and glasses count as no
        accessory (None).
        """
        factors = {name: getattr(self, name) for name in FACTORS}
        if self.view == "back":
            del factors["expression"]
            if self.accessory == "glasses":
                factors["accessory"] = None
        return factors


def check_seed(seed: object, name: str = "seed") -> int:
    """Gives back an integer, counted from 0 (NumPy's too), and refuses anything else."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise InputError(name, got=repr(seed), expected="an integer from 0 up")
    return int(seed)


def random_pose(rng: random.Random) -> dict:
    """Draws where the character stands, how big and how tilted, and the seeds of the details."""
    return {
        "x": rng.uniform(0.42, 0.58),
        "y": rng.uniform(0.83, 0.89),
        "size": rng.uniform(0.88, 1.08),
        "tilt": rng.uniform(-7, 7),
        "flip": rng.random() < 0.5,
        "shape": rng.randrange(1_000_000),
        "setting": rng.randrange(1_000_000),
    }


def random_scene(seed: int, held_out: bool | None = False, **factors: str | None) -> Scene:
    r"""Draws a scene: a function of its seed alone.

    Args:
        seed: integer >= 0.
        held_out: False never yields a combination that is kept out of training, True yields
            nothing else, None does not care.
        factors: factors to fix, such as `class_noun="robot"`; the others are drawn.

    Raises:
        InputError: an unknown factor or value, or fixed factors that leave no such scene.
    """
    rng = random.Random(check_seed(seed))
    for name, value in factors.items():
        check_factor(name, value)
    for _ in range(2000):
        drawn = {name: _draw(name, rng) for name in FACTORS} | factors
        if held_out is None or is_held_out_combination(drawn) == held_out:
            return Scene(**drawn, **random_pose(rng))
    side = "inside" if held_out else "outside"
    named = ", ".join(f"{name}={value}" for name, value in factors.items())
    fix = "Pass held_out=None, or fix fewer factors."
    raise InputError("factors", got=named, expected=f"factors {side} the held-out set", fix=fix)


def _draw(name: str, rng: random.Random) -> str | None:
    if name == "accessory" and rng.random() > ACCESSORY_SHARE:
        return None
    values = FACTORS[name]
    return rng.choices(values, WEIGHTS[name])[0] if name in WEIGHTS else rng.choice(values)


def is_held_out(scene: Scene) -> bool:
    """Tells whether the scene combines class, colour and place in a way kept out of training."""
    return is_held_out_combination(vars(scene))
