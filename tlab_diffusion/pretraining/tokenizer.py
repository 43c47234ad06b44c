r"""The tokenizer of `picturebook`: byte-pair encoding, learned from the world's own captions.

It behaves as CLIP's does. Words that captions use, and the rare identifiers, are one token each;
any other word falls into pieces, down to single letters.
"""

import json
from functools import lru_cache

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from tlab_diffusion.picturebook import FACTORS, IDENTIFIERS, caption, random_scene
from tlab_diffusion.picturebook.grammar import FILLERS, SYNONYMS, TELLING

MAX_TOKENS = 32  # the longest caption has 28, the marks at its ends included
NUM_CAPTIONS = 4000
END_OF_WORD = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"


def new_tokenizer() -> CLIPTokenizer:
    """A new tokenizer object at every call, always with the same vocabulary."""
    vocabulary, merges = _learn_merges()
    tokens = [*vocabulary, START, END]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        model_max_length=MAX_TOKENS,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token=END,
        world=_world(),
    )


def _world() -> dict:
    """The words that the model reads, for `pipelines.prompts.unknown_words`."""
    telling = {" ".join(phrase): list(meaning) for phrase, meaning in TELLING.items()}
    fillers = dict.fromkeys(sorted(FILLERS))
    return {
        "name": "the picture book",
        "identifiers": list(IDENTIFIERS),
        "phrases": fillers | telling,
    }


@lru_cache(maxsize=1)
def _learn_merges() -> tuple[list[str], list[tuple[str, str]]]:
    """Byte-pair encoding's alphabet and merges, most frequent first."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = [*alphabet, *(letter + END_OF_WORD for letter in alphabet)]
    bpe = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    # More merges than the corpus has: it ends when every word is whole.
    trainer = trainers.BpeTrainer(
        vocab_size=20_000,
        initial_alphabet=alphabet,
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    bpe.train_from_iterator(_corpus(), trainer)
    merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    return [*letters, *(first + second for first, second in merges)], merges


def _corpus() -> list[str]:
    captions = [caption(random_scene(seed), seed=seed) for seed in range(NUM_CAPTIONS)]
    values = [value for values in FACTORS.values() for value in values]
    others = [" ".join(words) for words in SYNONYMS] + sorted(FILLERS)
    return captions + 2 * [*values, *others, *IDENTIFIERS, "photo", "no"]
