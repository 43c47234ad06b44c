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


def prompts_for(identifier: str, class_noun: str, prompt_noun: str | None = None) -> list[Prompt]:
    r"""Ten prompts of every use, in the order of `CHANGES`.

    Args:
        identifier: the word that means the subject.
        class_noun: what the subject is.
        prompt_noun: the noun that the model learnt, where it is another; "" for a model that learnt
            the identifier alone.
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
    # A property is asked for by itself, all else in a place: an old pose will not do.
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
    r"""The short list of all uses: what the references do not show, as far as there is such.

    Args:
        identifier, class_noun, prompt_noun: see `prompts_for`.
        places: where the references were taken.
        colour: the subject's own; None where nobody can tell.
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
