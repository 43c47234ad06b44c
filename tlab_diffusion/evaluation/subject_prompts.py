r"""Prompts for a tuned model: the paper's six uses (Section 4.3, arXiv:2208.12242).

Each prompt states the factors that a picture should show, so that recognisers can check them.
The paper's own list has 25 prompts for objects and 25 for animals.
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
# What each use changes besides the place. The ordinary style and view are left out: they are drawn
# without asking.
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
    """One prompt for a tuned model.

    Args:
        use: one of `CHANGES`.
        text: the prompt, with the identifier.
        plain: the same without the identifier, for encoders that do not know the subject.
        expected: the values of the factors that a picture should show.
    """

    use: str
    text: str
    plain: str
    expected: Mapping[str, str]

    @property
    def shows_identity(self) -> bool:
        """Whether identity can be measured: not from behind or recoloured.

        The references show neither. The encoder is right on 98 % or more of real pictures in a new
        place, with an accessory, or in another style or mood; on 8 in 10 from behind; on 7 in 10
        in another colour.
        """
        recoloured = "colour" in self.expected or "pattern" in self.expected
        return not recoloured and self.expected.get("view") != "back"


def prompts_for(identifier: str, class_noun: str, prompt_noun: str | None = None) -> list[Prompt]:
    r"""Ten prompts of every use, in the order of `CHANGES`.

    Args:
        identifier: the word that means the subject.
        class_noun: the subject's class.
        prompt_noun: the noun that the model was trained with, if it is another; "" for a model
            that learned the identifier alone.
    """
    said = class_noun if prompt_noun is None else prompt_noun
    return [
        Prompt(
            use=use,
            text=sentence(expected | {"class_noun": said}, identifier),
            plain=sentence(expected | {"class_noun": class_noun}),
            expected=expected,
        )
        for use in CHANGES
        for expected in _expected(use)
    ]


def _expected(use: str) -> Iterator[dict[str, str]]:
    # All uses but properties also ask for a place, so that a copy of a reference does not comply.
    places = [{}] * PER_USE if use == "property" else [{"place": place} for place in CONTEXTS]
    for change, place in zip(cycle(CHANGES[use]), places, strict=False):
        yield change | place


def ten_prompts(
    identifier: str,
    class_noun: str,
    places: Sequence[str] = (),
    colour: str | None = None,
    *,
    prompt_noun: str | None = None,
) -> list[Prompt]:
    r"""Ten prompts over all uses, first those for what the references do not show.

    Args:
        identifier, class_noun, prompt_noun: see `prompts_for`.
        places: of the references.
        colour: the subject's own; None where it is not known.
    """

    def shown(prompt: Prompt) -> bool:
        own_colour = colour is not None and prompt.expected.get("colour") == colour
        return own_colour or prompt.expected.get("place") in places

    new_first = sorted(prompts_for(identifier, class_noun, prompt_noun), key=shown)
    return [
        prompt
        for use, number in IN_TEN.items()
        for prompt in [prompt for prompt in new_first if prompt.use == use][:number]
    ]
