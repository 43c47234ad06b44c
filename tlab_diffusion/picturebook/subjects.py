"""Pictures of a subject: the five references, and any other scene it may visit."""

from random import Random

from tlab_diffusion.picturebook.cast import check_subject
from tlab_diffusion.picturebook.factors import check_factor
from tlab_diffusion.picturebook.scene import Scene, check_seed, random_pose

# The references look as snapshots do: mostly the front, different moods, poses and places.
_VIEWS = ("front", "front", "side", "front", "front")
_MOODS = ("happy", "surprised", "happy", "happy", "sleepy")


def subject_scene(name: str, seed: int = 0, **factors: str | None) -> Scene:
    r"""Puts a subject into any scene: the truth that a tuned model is measured against.

    Args:
        name: one of `SUBJECTS`.
        seed: integer >= 0, draws the pose and what is not named.
        factors: factors to fix, such as `place="moon"`, `view="back"`, `accessory="crown"`.
            Without them the place is drawn at random; the rest is as in the references: a happy
            cartoon from the front, plain, in its own colour.

    Raises:
        InputError: an unknown subject, factor or value, or another class than the subject's.
    """
    subject = check_subject(name)
    for factor, value in factors.items():
        check_factor(factor, value)
    rng = Random(f"{name} {check_seed(seed)}")
    own = {
        "class_noun": subject.class_noun,
        "colour": subject.colour,
        "place": rng.choice(subject.places),
    }
    pose = random_pose(rng) | {"shape": subject.shape}
    return Scene(**(own | factors), **pose, subject=name)


def subject_scenes(name: str) -> list[Scene]:
    r"""The five reference scenes of a subject, in different places and poses.

    Raises:
        InputError: an unknown subject.
    """
    places = check_subject(name).places
    return [
        subject_scene(name, seed, place=place, view=view, expression=mood)
        for seed, (place, view, mood) in enumerate(zip(places, _VIEWS, _MOODS, strict=True))
    ]
