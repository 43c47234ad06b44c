"""What a pipeline is asked for when it is measured: scenes that no training draws."""

from tlab_diffusion.evaluation.pictures import FIRST_TEST_SEED
from tlab_diffusion.picturebook import CLASSES, Scene, caption, random_scene
from tlab_diffusion.picturebook.heldout import HELD_OUT_COLOUR

KINDS = ("seen", "pairs", "triples")
# Apart from the scenes on which training is watched.
_FIRST = {kind: FIRST_TEST_SEED + 10_000_000 * (i + 1) for i, kind in enumerate(KINDS)}


def unseen_scenes(kind: str, num: int) -> list[Scene]:
    r"""Scenes to be asked for.

    Args:
        kind: "seen" are of combinations that training shows, "pairs" of a class in its held-out
            colour, "triples" of class, colour and place that are held out together only.
        num: how many.
    """
    return [_SCENE[kind](_FIRST[kind] + number) for number in range(num)]


def full_caption(scene: Scene) -> str:
    """A caption that names every factor that the picture shows."""
    return caption(
        scene, mention=[name for name, value in scene.visible_factors().items() if value]
    )


def _pair(seed: int) -> Scene:
    class_noun = CLASSES[seed % len(CLASSES)]
    return random_scene(
        seed, held_out=True, class_noun=class_noun, colour=HELD_OUT_COLOUR[class_noun]
    )


def _triple(seed: int) -> Scene:
    while True:
        scene = random_scene(seed, held_out=True)
        if scene.colour != HELD_OUT_COLOUR[scene.class_noun]:
            return scene
        seed += 2**40  # another draw, of a seed that nothing else uses


_SCENE = {"seen": random_scene, "pairs": _pair, "triples": _triple}
