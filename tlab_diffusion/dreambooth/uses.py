r"""What a tuned model is asked to draw: the paper's six uses (Section 4.3, arXiv:2208.12242).

Each prompt says what a picture of the picture-book world should then show, so that recognisers can
tell whether it was obeyed. The paper's own list has 25 prompts for objects and 25 for animals.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

from tlab_diffusion.picturebook import ACCESSORIES, COLOURS, EXPRESSIONS, PATTERNS, STYLES, VIEWS
from tlab_diffusion.picturebook.grammar import sentence

PER_USE = 10
# Ten of the twelve places; "meadow" and "city" are home to most subjects, and new to few.
CONTEXTS = (
    *("moon", "sea", "night", "stage", "rain"),
    *("snow", "desert", "room", "forest", "beach"),
)
# What each use changes, beside the place. The ordinary style and view would ask for nothing.
CHANGES = {
    "context": [{}],
    "accessory": [{"accessory": value} for value in ACCESSORIES],
    "style": [{"style": value} for value in STYLES[1:]],
    "expression": [{"expression": value} for value in EXPRESSIONS],
    "view": [{"view": value} for value in VIEWS[1:]],
    "property": [{"colour": value} for value in COLOURS[:7]]
    + [{"pattern": value} for value in PATTERNS[1:]],
}
# In ten prompts: half new contexts, and one of every other use.
IN_TEN = dict.fromkeys(CHANGES, 1) | {"context": 5}


@dataclass(frozen=True)
class Prompt:
    """One thing to ask of a tuned model.

    Args:
        use: one of `CHANGES`.
        text: what the model is asked, with the identifier.
        plain: the same without it, for an encoder that has never met the subject.
        expected: the factors that the picture should show, with their values.
    """

    use: str
    text: str
    plain: str
    expected: Mapping[str, str]

    @property
    def shows_identity(self) -> bool:
        """Whether the subject can be told at all: not from behind, nor in another coat.

        The references show neither. The encoder knows 98 % and more of real pictures in a new
        place, with an accessory, or in another style or mood; 8 in 10 from behind, 7 in 10 in
        another colour.
        """
        recoloured = "colour" in self.expected or "pattern" in self.expected
        return not recoloured and self.expected.get("view") != "back"


def prompts_for(identifier: str, class_noun: str) -> list[Prompt]:
    r"""Ten prompts of every use, in the order of `CHANGES`.

    Args:
        identifier: the word that means the subject.
        class_noun: as the model learnt it; "" for a model that learnt the identifier alone.
    """
    return [
        Prompt(
            use=use,
            text=sentence(expected | {"class_noun": class_noun}, identifier),
            plain=sentence(expected | {"class_noun": class_noun or "thing"}),
            expected=expected,
        )
        for use in CHANGES
        for expected in _expected(use)
    ]


def _expected(use: str) -> Iterator[dict[str, str]]:
    # A property is asked for by itself, all else in a place: an old pose will not do.
    places = [{}] * PER_USE if use == "property" else [{"place": place} for place in CONTEXTS]
    for change, place in zip(cycle(CHANGES[use]), places, strict=False):
        yield change | place


def ten_prompts(
    identifier: str, class_noun: str, places: Sequence[str] = (), colour: str | None = None
) -> list[Prompt]:
    r"""The short list of all uses, nothing of which the references show.

    Args:
        identifier, class_noun: see `prompts_for`.
        places: where the references were taken.
        colour: the subject's own; None where nobody can tell.
    """
    new = [
        prompt
        for prompt in prompts_for(identifier, class_noun)
        if prompt.expected.get("place") not in places
        and (colour is None or prompt.expected.get("colour") != colour)
    ]
    return [
        prompt
        for use, number in IN_TEN.items()
        for prompt in [prompt for prompt in new if prompt.use == use][:number]
    ]
