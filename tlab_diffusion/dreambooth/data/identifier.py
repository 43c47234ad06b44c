r"""What a tokenizer makes of an identifier: one rare token, a word that means something, or pieces.

A rare token has a weak prior, so the model can give it a new meaning; a common word brings its old
one along, and a random string falls into letters that mean a little of everything (Section 3.2,
arXiv:2208.12242).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import IDENTIFIERS, parse
from tlab_diffusion.pipelines.prompts import words_cut

END_OF_WORD = "</w>"
LETTERS = 512  # the ids below are single bytes, in the middle and at the end of a word
# Byte-pair encoding learns frequent pairs first, so late tokens are rare. In CLIP's vocabulary
# the last quarter still holds "teapot" and "anemone", but few of its tokens of 3 or 4 letters are
# words; shorter ones occur within many words.
RARE_SHARE = 0.75
RARE_LENGTHS = (3, 4)
MOST_TOKENS = 3
# One rare token each: in the picture book's vocabulary the first, in CLIP's the second.
CANDIDATES = (*IDENTIFIERS, "ohwx", "olis", "wiv", "yte", "oue", "iru", "waj", "bdg", "hns")
MEANINGS = {"sks": "the name of a rifle"}  # rare tokens that CLIP has met all the same


@dataclass(frozen=True)
class TokenReport:
    """What a tokenizer makes of an identifier and its prompts.

    Args:
        identifier: the word.
        tokens: its pieces, as they stand in the vocabulary.
        ids: their numbers.
        known_word: whether it means something already: a word that is one token, but no rare one.
        common_pieces: whether it splits into pieces, some of which occur within many words.
        problems: what no training can mend, such as an identifier in the class prompt.
        warnings: what makes training harder.
        suggestions: words that are one rare token here; empty where the identifier is good.
        new: whether its token is added to the vocabulary.
    """

    identifier: str
    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    known_word: bool
    common_pieces: bool
    problems: tuple[InputError, ...] = ()
    warnings: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    new: bool = False

    def __str__(self) -> str:
        count = f"{len(self.ids)} {'new ' * self.new}token" + "s" * (len(self.ids) != 1)
        pieces = ", ".join(f"{t} ({i})" for t, i in zip(self.tokens, self.ids, strict=True))
        lines = [f"identifier '{self.identifier}': {count}: {pieces}", *self.warnings]
        if self.suggestions:
            lines.append(f"Try one of: {', '.join(self.suggestions)}.")
        return "\n".join(lines)


def token_report(
    tokenizer, identifier: str, instance_prompt: str, class_prompt: str, *, own_row: bool = False
) -> TokenReport:
    r"""Look at an identifier as the model will.

    Args:
        tokenizer: CLIP's or the picture book's: byte-pair encoding with ids in the order in which
            the pairs were learned.
        identifier: the word that will mean the subject.
        instance_prompt: has to hold it.
        class_prompt: must not hold it.
        own_row: whether the identifier is one token with a meaning of its own from the start, as
            in Textual Inversion.
    """
    tokens, ids = tuple(tokenizer.tokenize(identifier)), tuple(_ids(tokenizer, identifier))
    new = ids[0] in tokenizer.added_tokens_decoder and len(ids) == 1
    known = _means_something(identifier) if new else _is_known(tokenizer, identifier)
    common = len(tokens) > 1 and not all(_is_rare(tokenizer, token) for token in tokens)
    warnings = tuple(_warnings(identifier, tokens, known, common, own_row))
    return TokenReport(
        identifier=identifier,
        tokens=tokens,
        ids=ids,
        known_word=known,
        common_pieces=common,
        problems=tuple(_problems(tokenizer, identifier, instance_prompt, class_prompt)),
        warnings=warnings,
        suggestions=suggest_identifiers(tokenizer) if warnings else (),
        new=new,
    )


def suggest_identifiers(tokenizer, num: int = 5) -> tuple[str, ...]:
    """Words that are one rare token of this vocabulary, and mean nothing."""
    good = (word for word in CANDIDATES if is_rare_word(tokenizer, word))
    return tuple(word for word, _ in zip(good, range(num), strict=False))


def is_rare_word(tokenizer, word: str) -> bool:
    """Whether a word is one token, and a rare one."""
    return len(tokenizer.tokenize(word)) == 1 and not _is_known(tokenizer, word)


def _is_known(tokenizer, word: str) -> bool:
    if _means_something(word):
        return True
    tokens = tokenizer.tokenize(word)
    return len(tokens) == 1 and not _is_rare(tokenizer, tokens[0])


def _means_something(word: str) -> bool:
    """Whether it is a word of the picture book: those are plain English."""
    parsed = parse(word)
    return not parsed.unknown_words and parsed.identifier is None


def _is_rare(tokenizer, token: str) -> bool:
    merges = len(tokenizer) - LETTERS
    share = (tokenizer.convert_tokens_to_ids(token) - LETTERS) / merges
    return share >= RARE_SHARE and len(token.removesuffix(END_OF_WORD)) in RARE_LENGTHS


def _warnings(
    identifier: str, tokens: Sequence[str], known: bool, common: bool, own_row: bool
) -> Iterator[str]:
    if own_row:
        if known:
            yield f"'{identifier}' is a word that means something already: the subject replaces it."
        return
    if known:
        yield f"'{identifier}' is a word that means something already: the subject will look so."
    if common and not known:
        pieces = " + ".join(token.removesuffix(END_OF_WORD) for token in tokens)
        yield f"'{identifier}' splits into common pieces ({pieces}): it will hardly bind."
    elif len(tokens) > MOST_TOKENS:
        yield f"'{identifier}' has {len(tokens)} tokens: more than {MOST_TOKENS} hardly bind."
    if len(tokens) == 1 and identifier.lower() in MEANINGS:
        yield f"'{identifier}' is {MEANINGS[identifier.lower()]}, and the model may know it."


def _problems(
    tokenizer, identifier: str, instance_prompt: str, class_prompt: str
) -> Iterator[InputError]:
    ids = _ids(tokenizer, identifier)
    if not _holds(_ids(tokenizer, instance_prompt), ids):
        yield InputError(
            "instance_prompt",
            got=repr(instance_prompt),
            expected=f"a prompt with the identifier '{identifier}' in it",
            fix="Without it the model has no word to learn.",
        )
    elif cut := words_cut(tokenizer, instance_prompt):
        yield InputError(
            "instance_prompt",
            got=f"a prompt whose end '{cut}' does not fit",
            expected=f"{tokenizer.model_max_length} tokens at most",
        )
    if _holds(_ids(tokenizer, class_prompt), ids):
        yield InputError(
            "class_prompt",
            got=repr(class_prompt),
            expected=f"a prompt without the identifier '{identifier}'",
            fix="The class is what the subject shares with others.",
        )


def _ids(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids


def _holds(ids: list[int], part: list[int]) -> bool:
    """Whether a sequence of tokens holds another in one piece."""
    starts = range(len(ids) - len(part) + 1)
    return any(ids[start : start + len(part)] == part for start in starts)
