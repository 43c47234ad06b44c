r"""What a tokenizer makes of an identifier: one rare token, a word that means something, or pieces.

A rare token has a weak prior, so the model can give it a new meaning. A common word keeps its old
meaning, and a random string splits into letters that occur in many words (Section 3.2,
arXiv:2208.12242).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines.prompts import WORLD, unknown_words, words_cut

END_OF_WORD = "</w>"
LETTERS = 512  # the ids below are single bytes, in the middle and at the end of a word
# Byte-pair encoding learns frequent pairs first, so late tokens are rare. In CLIP's vocabulary
# the last quarter still holds "teapot" and "anemone", but few of its tokens of 3 or 4 letters are
# words; shorter ones occur within many words.
RARE_RANK = 0.75
RARE_LENGTHS = (3, 4)
MOST_TOKENS = 3
# One rare token each in CLIP's vocabulary. A small world's tokenizer lists its own.
CANDIDATES = ("ohwx", "olis", "wiv", "yte", "oue", "iru", "waj", "bdg", "hns")
MEANINGS = {"sks": "the name of a rifle"}  # rare tokens that CLIP has a meaning for


@dataclass(frozen=True)
class TokenReport:
    """What a tokenizer makes of an identifier and its prompts.

    Args:
        identifier: the word.
        tokens: its pieces, as they are in the vocabulary.
        ids: their numbers.
        known_word: whether it has a meaning already: a word that is one token, but not a rare one.
        common_pieces: whether it splits into pieces, some of which occur in many words.
        problems: what stops the run, such as an identifier in the class prompt.
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
    r"""Examine an identifier and its prompts as the tokenizer reads them.

    Args:
        tokenizer: byte-pair encoding with ids in the order in which the pairs were learned, as
            CLIP's. Where it lists the words of a small world, these have a meaning already.
        identifier: the word that will mean the subject.
        instance_prompt: must contain it.
        class_prompt: must not contain it.
        own_row: whether the identifier is one token with an embedding of its own from the start,
            as in Textual Inversion.
    """
    tokens, ids = tuple(tokenizer.tokenize(identifier)), tuple(_ids(tokenizer, identifier))
    new = len(ids) == 1 and ids[0] in tokenizer.added_tokens_decoder
    known = _in_world(tokenizer, identifier) if new else _is_known(tokenizer, identifier)
    common = len(tokens) > 1 and not all(_is_rare(tokenizer, token) for token in tokens)
    problems = tuple(_problems(tokenizer, identifier, instance_prompt, class_prompt))
    warnings = () if problems else tuple(_warnings(identifier, tokens, known, common, own_row))
    return TokenReport(
        identifier=identifier,
        tokens=tokens,
        ids=ids,
        known_word=known,
        common_pieces=common,
        problems=problems,
        warnings=warnings,
        suggestions=suggest_identifiers(tokenizer) if warnings else (),
        new=new,
    )


def suggest_identifiers(tokenizer, num: int = 5) -> tuple[str, ...]:
    """Words that are one rare token of this vocabulary, and have no meaning."""
    candidates = (*tokenizer.init_kwargs.get(WORLD, {}).get("identifiers", ()), *CANDIDATES)
    good = (
        word
        for word in candidates
        if len(tokenizer.tokenize(word)) == 1 and not _is_known(tokenizer, word)
    )
    return tuple(word for word, _ in zip(good, range(num), strict=False))


def _is_known(tokenizer, word: str) -> bool:
    if _in_world(tokenizer, word):
        return True
    tokens = tokenizer.tokenize(word)
    return len(tokens) == 1 and not _is_rare(tokenizer, tokens[0])


def _in_world(tokenizer, word: str) -> bool:
    """Whether it is a word of the small world that the tokenizer lists, and no identifier of it."""
    world = tokenizer.init_kwargs.get(WORLD)
    if not world or not _has_letters(word) or word.lower() in world["identifiers"]:
        return False
    return not unknown_words(world, word)


def _is_rare(tokenizer, token: str) -> bool:
    merges = len(tokenizer) - LETTERS
    rank = (tokenizer.convert_tokens_to_ids(token) - LETTERS) / merges
    return rank >= RARE_RANK and len(token.removesuffix(END_OF_WORD)) in RARE_LENGTHS


def _has_letters(word: str) -> bool:
    return any(character.isalnum() for character in word)


def _warnings(
    identifier: str, tokens: Sequence[str], known: bool, common: bool, own_row: bool
) -> Iterator[str]:
    if own_row:
        if known:
            yield f"'{identifier}' is a word that means something already: the subject replaces it."
        return
    if not _has_letters(identifier):
        why = "the model may know it" if len(tokens) == 1 else f"it is {len(tokens)} tokens here"
        yield f"'{identifier}' has no letters or digits, {why}: it will hardly bind."
    elif known:
        yield f"'{identifier}' is a word that means something already: the subject will look so."
    elif common:
        pieces = _readable(tokens)
        yield f"'{identifier}' splits into common pieces ({pieces}): it will hardly bind."
    elif len(tokens) > MOST_TOKENS:
        yield f"'{identifier}' has {len(tokens)} tokens: more than {MOST_TOKENS} hardly bind."
    if len(tokens) == 1 and identifier.lower() in MEANINGS:
        yield f"'{identifier}' is {MEANINGS[identifier.lower()]}, and the model may know it."


def _readable(tokens: Sequence[str]) -> str:
    """The pieces, or how many: outside ASCII, a byte-level vocabulary writes bytes as letters."""
    if not all(token.isascii() for token in tokens):
        return f"{len(tokens)} tokens, below a letter each"
    return " + ".join(token.removesuffix(END_OF_WORD) for token in tokens)


def _problems(
    tokenizer, identifier: str, instance_prompt: str, class_prompt: str
) -> Iterator[InputError]:
    ids = _ids(tokenizer, identifier)
    if reserved := _special(tokenizer, identifier, ids):
        yield InputError(
            "identifier",
            got=f"'{identifier}', {reserved}",
            expected="a word of letters, such as 'zwx'",
            fix="Special tokens mark where a prompt starts, ends or is padded.",
        )
        return
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


def _special(tokenizer, identifier: str, ids: Sequence[int]) -> str:
    """Which special token an identifier contains, or that it has no token; "" where it is fine."""
    added = tokenizer.added_tokens_decoder
    special = {*tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)}
    texts = [*tokenizer.all_special_tokens, *(added[i].content for i in special if i in added)]
    for text in texts:
        if text.lower() in identifier.lower():
            return f"which contains the tokenizer's special token '{text}'"
    if not ids or special & set(ids):
        return "which the tokenizer cannot read"
    return ""


def _ids(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids


def _holds(ids: list[int], part: list[int]) -> bool:
    """Whether a sequence of tokens holds another in one piece."""
    starts = range(len(ids) - len(part) + 1)
    return any(ids[start : start + len(part)] == part for start in starts)
