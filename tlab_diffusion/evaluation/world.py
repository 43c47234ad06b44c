r"""What an evaluation knows of a world of pictures: prompts, encoders and its subjects.

`dreambooth` measures models through such an object and does not import the picture book.
"""

from dataclasses import dataclass

import numpy as np

from tlab_diffusion.evaluation.encoders import Encoders
from tlab_diffusion.evaluation.hub_encoders import suitable_encoders
from tlab_diffusion.evaluation.identity import SubjectReferences, identify_subject
from tlab_diffusion.evaluation.pictures import SIZE
from tlab_diffusion.evaluation.subject_prompts import Prompt, prompts_for, ten_prompts
from tlab_diffusion.picturebook import CLASSES, COLOURS, PATTERNS, caption, parse, random_scene
from tlab_diffusion.picturebook.grammar import sentence
from tlab_diffusion.picturebook.scene import WEIGHTS

# How often the picture book shows each value of the factors whose variety is measured.
FACTOR_FREQUENCIES = {
    "colour": dict.fromkeys(COLOURS, 1),
    "pattern": dict(zip(PATTERNS, WEIGHTS["pattern"], strict=True)),
}


@dataclass(frozen=True)
class PictureBookWorld:
    r"""The picture book, whose prompts are plain English and suit other models as well.

    Its recognisers are used only where the model draws pictures of the recognisers' own side.

    Args:
        side: of the model's pictures, in pixels.
    """

    side: int = SIZE

    def encoders(self) -> Encoders:
        """Load the encoders that suit the side: the shipped ones, or CLIP and DINO."""
        return suitable_encoders(self.side)

    def subject(
        self, pictures: np.ndarray, class_noun: str, encoders: Encoders
    ) -> SubjectReferences:
        r"""What is known of a subject.

        Args:
            pictures: (N, H, W, 3) uint8, its references.
            class_noun: its class.
            encoders: with recognisers, its colour and places are read off the pictures.
        """
        recognise = encoders.recognise if self.side == SIZE else None
        return identify_subject(pictures, class_noun, recognise)

    def prompts(
        self, subject: SubjectReferences, identifier: str, prompt_noun: str, *, every_use: bool
    ) -> list[Prompt]:
        r"""The prompts for a subject: ten of each use, or ten in all."""
        if every_use:
            return prompts_for(identifier, subject.class_noun, prompt_noun)
        known = subject.places, subject.colour
        return ten_prompts(identifier, subject.class_noun, *known, prompt_noun=prompt_noun)

    def class_prompts(self, class_noun: str) -> tuple[str, ...]:
        r"""Captions that hold a model to what it knows: in turn of the bare class, twice of the
        class in a scene, and of another class in a scene.

        Args:
            class_noun: any word, also one that is no class of the picture book.
        """
        bare, others = self.class_prompt(class_noun), [c for c in CLASSES if c != class_noun]
        nouns = [noun for other in others for noun in (class_noun, class_noun, other)]
        told = [_told(number, noun) for number, noun in enumerate(nouns)]
        return tuple(
            prompt
            for number in range(0, len(told), 3)
            for prompt in (bare, *told[number : number + 3])
        )

    def class_prompt(self, class_noun: str) -> str:
        """The prompt for the bare class."""
        return sentence({"class_noun": class_noun})


def _told(seed: int, noun: str) -> str:
    """A caption as training has them, of a random scene and with this noun."""
    scene = random_scene(seed, held_out=False)
    factors = {**parse(caption(scene, seed=seed)).factors, "class_noun": noun}
    return sentence(factors)
