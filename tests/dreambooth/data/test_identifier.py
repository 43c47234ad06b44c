"""The report on an identifier: rare, known or in pieces; what a prompt may and must hold."""

import copy
import itertools
from functools import cache

import pytest
from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

from tlab_diffusion.dreambooth.data.identifier import CANDIDATES, suggest_identifiers, token_report
from tlab_diffusion.picturebook import CLASSES, IDENTIFIERS
from tlab_diffusion.pretraining.tokenizer import new_tokenizer

# From frequent to rare, as in CLIP's vocabulary; the last quarter is "rare".
FREQUENT = (
    *("the", "and", "you", "for", "day", "cat", "dog", "wx", "man", "city", "photo", "robot"),
    *("abc", "gun", "sun", "tree", "game", "song", "home", "team", "dance", "garden", "river"),
    *("shop", "game", "blog", "news", "girl", "boy", "free", "live", "best", "last", "good"),
)
TAIL = ("tuxedo", "sks", "ohwx", "olis")


@cache
def clip_like():
    """A tokenizer of CLIP's kind: bytes, then merges, then the marks."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    merges = []
    for word in (*FREQUENT, *TAIL):
        *letters, last = word
        pieces = [*letters, last + "</w>"]
        while len(pieces) > 1:  # by the merges that are there, then by new ones from the left
            pairs = list(itertools.pairwise(pieces))
            pair = min(pairs, key=lambda p: merges.index(p) if p in merges else len(merges))
            if pair not in merges:
                merges.append(pair)
                vocabulary.append("".join(pair))
            at = pairs.index(pair)
            pieces[at : at + 2] = ["".join(pair)]
    marks = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    vocab = {token: i for i, token in enumerate([*vocabulary, *marks.values()])}
    return CLIPTokenizer(
        vocab=vocab, merges=merges, model_max_length=77, unk_token="<|endoftext|>", **marks
    )


def report(tokenizer, identifier):
    return token_report(tokenizer, identifier, f"a {identifier} robot", "a robot")


def verdict(tokenizer, identifier):
    found = report(tokenizer, identifier)
    return found.known_word, found.common_pieces


GOOD, KNOWN, PIECES = (False, False), (True, False), (False, True)


@pytest.mark.parametrize("identifier", IDENTIFIERS)
def test_the_picture_books_identifiers_are_good(identifier):
    found = report(new_tokenizer(), identifier)
    assert (found.known_word, found.common_pieces) == GOOD
    assert found.tokens == (f"{identifier}</w>",)
    assert found.ids == (new_tokenizer().get_vocab()[f"{identifier}</w>"],)
    assert found.problems == found.warnings == found.suggestions == ()


@pytest.mark.parametrize(
    "word", [*CLASSES, "red", "snow", "in", "a", "picture", "and", "photo", "no"]
)
def test_words_of_captions_are_known(word):
    assert verdict(new_tokenizer(), word) == KNOWN


@pytest.mark.parametrize("word", ["sks", "ohwx", "xxy5syt00", "dreambooth", "hjkzzwx", "ñandú"])
def test_other_words_split_in_the_picture_book(word):
    found = report(new_tokenizer(), word)
    assert (found.known_word, found.common_pieces) == PIECES
    assert "splits into common pieces (" in found.warnings[0]
    assert len(found.ids) == len(found.tokens) > 1


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("ohwx", GOOD),
        ("OHWX", GOOD),  # CLIP makes all letters small
        ("olis", GOOD),
        ("sks", GOOD),
        ("cat", KNOWN),  # frequent
        ("tuxedo", KNOWN),  # rare, but long: a word
        ("blog", KNOWN),  # not quite rare
        ("abc", KNOWN),  # short, but frequent
        ("wx", KNOWN),  # too short to be rare
        ("zwx", PIECES),
        ("qqq", PIECES),
    ],
)
def test_a_vocabulary_like_clips(word, expected):
    assert verdict(clip_like(), word) == expected


def test_the_rifle_is_named():
    (warning,) = report(clip_like(), "sks").warnings
    assert "rifle" in warning
    assert "rifle" not in str(report(new_tokenizer(), "sks"))  # there it is in pieces


def test_suggestions_are_good_where_they_are_made():
    assert suggest_identifiers(new_tokenizer()) == IDENTIFIERS[:5]
    assert suggest_identifiers(clip_like()) == ("ohwx", "olis")
    assert report(clip_like(), "cat").suggestions == ("ohwx", "olis")
    assert (
        suggest_identifiers(new_tokenizer(), num=len(IDENTIFIERS) + len(CANDIDATES)) == IDENTIFIERS
    )


def test_the_report_in_words():
    ids = new_tokenizer().get_vocab()
    pieces = ", ".join(f"{token} ({ids[token]})" for token in ("s", "k", "s</w>"))
    text = str(report(new_tokenizer(), "sks"))
    assert text.startswith(f"identifier 'sks': 3 tokens: {pieces}\n")
    assert text.endswith("Try one of: zwx, qev, vyj, xol, kuj.")
    one = f"identifier 'zwx': 1 token: zwx</w> ({ids['zwx</w>']})"
    assert str(report(new_tokenizer(), "zwx")) == one


def problems(identifier, instance_prompt, class_prompt):
    found = token_report(new_tokenizer(), identifier, instance_prompt, class_prompt)
    return [problem.name for problem in found.problems]


def test_the_identifier_belongs_into_one_prompt_alone():
    assert problems("zwx", "a zwx robot", "a robot") == []
    assert problems("zwx", "a photo of ZWX, the robot", "a robot") == []
    assert problems("zwx", "a robot", "a robot") == ["instance_prompt"]
    assert problems("zwx", "a zwx robot", "a zwx robot") == ["class_prompt"]
    assert problems("zwx", "a robot", "a Zwx robot") == ["instance_prompt", "class_prompt"]
    # In pieces, which must follow one another, and end where the word ends.
    assert problems("sks", "a sks robot", "a robot") == []
    assert problems("sks", "a sksk robot", "a s k s robot") == ["instance_prompt"]
    assert problems("sks", "a sk ks robot", "a robot") == ["instance_prompt"]


def test_a_prompt_that_does_not_fit_is_a_problem():
    long = "a zwx robot " + 12 * "in the snow "
    found = token_report(new_tokenizer(), "zwx", long, "a robot")
    (problem,) = found.problems
    assert "a prompt whose end 'in the snow" in str(problem) and "32 tokens" in str(problem)
    assert "\n" not in str(problem)


@pytest.mark.parametrize("make", [new_tokenizer, clip_like])
def test_special_tokens_of_any_tokenizer_are_refused(make):
    tokenizer = copy.deepcopy(make())
    tokenizer.add_special_tokens({"pad_token": "!", "additional_special_tokens": ["<pad-me>"]})
    special = ["<|startoftext|>", "<|endoftext|>", "<|ENDOFTEXT|>", "!", "<pad-me>", "zwx!"]
    for identifier in special:
        for own_row in (False, True):
            prompts = f"a {identifier} robot", "a robot"
            found = token_report(tokenizer, identifier, *prompts, own_row=own_row)
            (problem,) = found.problems
            assert problem.name == "identifier" and "special token" in str(problem)
            assert found.warnings == found.suggestions == ()
    assert report(tokenizer, "zwx").problems == ()


def test_what_has_no_token_is_refused():
    (problem,) = token_report(new_tokenizer(), " ", "a robot", "a robot").problems
    assert "which the tokenizer cannot read" in str(problem)


@pytest.mark.parametrize("symbol", ["\N{ROBOT FACE}", "***", "\N{BLACK HEART SUIT}", "-->"])
@pytest.mark.parametrize("make", [new_tokenizer, clip_like])
def test_a_symbol_is_no_word(make, symbol):
    found = report(make(), symbol)
    (warning,) = found.warnings
    count = len(found.tokens)
    assert warning.startswith(f"'{symbol}' has no letters or digits, it is {count} tokens here")
    assert not found.known_word and found.suggestions


def test_letters_of_other_scripts_are_not_shown_as_bytes():
    (warning,) = report(new_tokenizer(), "\N{CYRILLIC SMALL LETTER ZHE}" * 2).warnings
    assert "splits into common pieces (4 tokens, below a letter each)" in warning
