"""Lesson 08: a word for the subject, what a run needs of memory, and which checkpoint to keep."""

from collections.abc import Callable

import torch
from torch import Tensor

from tlab_diffusion.course.exercise import Exercise, Variant
from tlab_diffusion.course.exercises._shared import rand, randint

# --- Solutions, as learners are shown them ------------------------------------------------


def choose_identifier(candidates, tokenize, known_words):
    whole = [word for word in candidates if len(tokenize(word)) == 1]
    return next(word for word in whole if word not in known_words)


def harmonic_mean(qualities):
    return qualities.shape[1] / (1 / qualities).sum(dim=1)  # 1 / 0 is infinite: then 0


def state_bytes(trained, frozen):
    weights, gradient, moments = 4, 4, 8  # float32; AdamW keeps two moments of each gradient
    return (weights + gradient + moments) * trained + weights * frozen


# --- The rare token -----------------------------------------------------------------------

KNOWN_WORDS = ("a", "robot", "cat", "red", "snow", "picture", "dog", "crown")
CANDIDATES = (
    ["red", "bnx", "robot", "xxy5syt00", "zwx", "mybot"],
    ["mydog", "mxl", "cat", "qev", "pj", "dog"],
    ["crown", "kx", "nameless", "snow", "robbie", "vyj"],
)


LETTERS = "bcdfghjklmnpqrstvwxz"
LEAST = 3  # letters of a made-up word


def _choices(generator: torch.Generator) -> list[tuple]:
    """Candidates for the course's own tokenizer, and made-up words for made-up ones."""
    from tlab_diffusion.pretraining.tokenizer import new_tokenizer

    tokenize = new_tokenizer().tokenize
    usual = [(list(words), tokenize, list(KNOWN_WORDS)) for words in CANDIDATES]
    return [*usual, *(_made_up_choice(generator) for _ in range(4))]


def _made_up_choice(generator: torch.Generator) -> tuple:
    """Words that look alike: only the tokenizer and the list tell which one is fit.

    Two are whole and known, two fall into pieces, one does so and is known, one is fit.
    """
    words: list[str] = []
    while len(words) < 6:
        drawn = torch.randint(len(LETTERS), (LEAST,), generator=generator).tolist()
        word = "".join(LETTERS[i] for i in drawn)
        if word not in words:
            words.append(word)
    whole, known = set(words[:3]), [words[0], "robot", words[1], words[3]]

    def tokenize(word: str) -> list[str]:
        return [f"{word}</w>"] if word in whole else [word[:1], f"{word[1:]}</w>"]

    order = torch.randperm(len(words), generator=generator).tolist()
    return [words[i] for i in order], tokenize, known


def _observe_choice(function: Callable) -> Callable:
    """Which candidate an answer chooses: its number, or -1 where it is none of them."""

    def seen(candidates: list[str], tokenize: Callable, known_words: list[str]) -> int:
        as_given = list(candidates)  # an answer that reorders the caller's list is told so
        result = function(candidates, tokenize, known_words)
        return as_given.index(result) if result in as_given else -1

    return seen


def _first(fits: Callable) -> Callable:
    """The first candidate that fits, by the number of its tokens and whether it is known."""

    def form(candidates: list[str], tokenize: Callable, known_words: list[str]) -> str:
        return next(w for w in candidates if fits(len(tokenize(w)), w in known_words))

    return form


def it_is_a_candidate(answer: Callable, generator: torch.Generator) -> str | None:
    for arguments in _choices(generator):
        if answer(*arguments) not in arguments[0]:
            return "Return one of the candidates, as it stands in the list."
    return None


def it_is_one_token(answer: Callable, generator: torch.Generator) -> str | None:
    for candidates, tokenize, known_words in _choices(generator):
        pieces = tokenize(answer(list(candidates), tokenize, known_words))
        if len(pieces) != 1:
            return f"Of {candidates}, you choose one that falls into {len(pieces)} pieces: {pieces}"
    return None


def it_means_nothing_yet(answer: Callable, generator: torch.Generator) -> str | None:
    for candidates, tokenize, known_words in _choices(generator):
        if (word := answer(list(candidates), tokenize, known_words)) in known_words:
            return f"Of {candidates}, you choose {word!r}, which is a word of the captions."
    return None


# --- The harmonic mean --------------------------------------------------------------------


def _qualities(generator: torch.Generator, checkpoints: int, qualities: int) -> Tensor:
    return rand(generator, checkpoints, qualities, low=0.05, high=0.95)


def equals_are_their_own_mean(answer: Callable, generator: torch.Generator) -> str | None:
    got = answer(torch.full((1, 3), 0.6))
    if abs(float(got) - 0.6) > 1e-3:
        return f"Three times 0.6 has the mean 0.6, of whatever kind; yours is {float(got):.4g}."
    return None


def one_weak_quality_counts(answer: Callable, generator: torch.Generator) -> str | None:
    got = answer(torch.tensor([[1.0, 1.0, 0.2]]))
    right = 3 / 7
    if abs(float(got) - right) > 1e-3:
        return (
            f"Of 1, 1 and 0.2 the reciprocals are 1, 1 and 5, their mean is 7/3, and one over that "
            f"is {right:.3f}; yours is {float(got):.3f}."
        )
    return None


def nothing_buys_a_zero(answer: Callable, generator: torch.Generator) -> str | None:
    try:
        got = float(answer(torch.tensor([[1.0, 1.0, 0.0]])))
    except Exception:  # whatever it is, it does not serve a zero
        got = None
    if got is not None and abs(got) < 1e-3:
        return None
    return (
        "A quality of 0 (the original model has never met the subject) should make the whole 0. "
        "In torch 1 / 0 is infinite, and 3 / infinity is 0: no special case is needed."
    )


# --- What a run keeps in memory -----------------------------------------------------------


def a_frozen_number_costs_itself(answer: Callable, generator: torch.Generator) -> str | None:
    if (got := answer(0, 1000)) != 4000:
        return f"1000 frozen float32 numbers take 4000 bytes and nothing more; yours says {got}."
    return None


def a_trained_number_is_there_four_times(
    answer: Callable, generator: torch.Generator
) -> str | None:
    if (got := answer(1000, 0)) != 16_000:
        return (
            "1000 trained numbers: the weights, their gradient, and AdamW's two moments, each as "
            f"large as the weights: 16000 bytes; yours says {got}."
        )
    return None


EXERCISES = (
    Exercise(
        id="hands_on.choose_identifier",
        title="A rare token",
        returns="one of the candidates; tokenize(word) gives the list of a word's tokens",
        minutes=8,
        difficulty=1,
        reference=choose_identifier,
        solution=choose_identifier,
        make_inputs=_choices,
        observe=_observe_choice,
        verified="It is one token, so that one embedding can carry the subject, and it is no word "
        "that captions use, so that it means nothing yet.",
        variants=(
            Variant(
                "COMMON_WORD",
                "You choose a common word. It is one token, but it has a meaning that pulls at "
                "the subject, and that training has to unlearn first. Leave out what is in "
                "known_words.",
                (_first(lambda tokens, known: tokens == 1),),
            ),
            Variant(
                "SPLITS_INTO_COMMON_PIECES",
                "You choose a string that is no word, but falls into common pieces: letters that "
                "mean a little of everything. Look at `len(tokenize(word))`; it should be 1.",
                (_first(lambda tokens, known: not known),),
            ),
            Variant(
                "LONG_IS_NOT_RARE",
                "You choose the longest candidate, or the one with the most tokens. A long random "
                "string looks rare to us, but the model reads its pieces, and each of them is "
                "common. Rare is what is *one* token and no word.",
                (
                    lambda candidates, tokenize, known_words: max(candidates, key=len),
                    lambda candidates, tokenize, known_words: max(
                        candidates, key=lambda word: len(tokenize(word))
                    ),
                ),
            ),
        ),
        invariants=(it_is_a_candidate, it_is_one_token, it_means_nothing_yet),
        hints=(
            "Two things are asked of an identifier: the tokenizer keeps it whole, and captions "
            "never use it.",
            "Go through the candidates and take the one with `len(tokenize(word)) == 1` that is "
            "not in known_words. (There is exactly one.)",
            "    whole = [word for word in candidates if len(tokenize(word)) == ...]\n"
            "    return next(word for word in whole if word not in ...)",
        ),
    ),
    Exercise(
        id="hands_on.harmonic_mean",
        title="A score that cannot be bought",
        returns="(N,); qualities is (N, Q), from 0 to 1: Q qualities of each of N checkpoints",
        minutes=8,
        difficulty=1,
        reference=harmonic_mean,
        solution=harmonic_mean,
        make_inputs=lambda g: [
            (_qualities(g, *shape),) for shape in ((3, 3), (4, 3), (2, 5), (1, 4))
        ],
        verified="The number of qualities, over the sum of their reciprocals: near the smallest of "
        "them, and 0 where one is.",
        variants=(
            Variant(
                "ARITHMETIC_MEAN",
                "You take the plain mean. A checkpoint that draws the subject whatever it is asked "
                "for gets 1 for identity, and may have lost all else: the mean still calls it "
                "fair. Average the *reciprocals*, and take one over the result.",
                (lambda qualities: qualities.mean(dim=1),),
            ),
            Variant(
                "GEOMETRIC_MEAN",
                "You take the root of the product: the geometric mean. It is 0 where one quality "
                "is, as it should be, but it forgives small ones more than the harmonic mean "
                "does, which averages reciprocals.",
                (
                    lambda qualities: qualities.prod(dim=1) ** (1 / qualities.shape[1]),
                    lambda qualities: qualities.log().mean(dim=1).exp(),
                ),
            ),
            Variant(
                "PRODUCT",
                "You multiply the qualities. Three of 0.6 then make 0.2, though nothing about "
                "them is as bad as that. A mean of equal numbers is that number.",
                (lambda qualities: qualities.prod(dim=1),),
            ),
            Variant(
                "SMALLEST_ONE",
                "You take the smallest quality. That cannot be bought either, but of two "
                "checkpoints with the same weakness it sees no difference in all the rest.",
                (lambda qualities: qualities.amin(dim=1),),
            ),
            Variant(
                "NOT_TURNED_BACK",
                "You average the reciprocals, and leave it at that: the worst checkpoint then has "
                "the highest score. Take one over the result.",
                (
                    lambda qualities: (1 / qualities).mean(dim=1),
                    lambda qualities: (1 / qualities).sum(dim=1),
                ),
            ),
            Variant(
                "SUM_NOT_MEAN",
                "You take one over the *sum* of the reciprocals: too small by the number of "
                "qualities. Multiply by it, or take the reciprocals' mean.",
                (lambda qualities: 1 / (1 / qualities).sum(dim=1),),
            ),
            Variant(
                "ALONG_THE_CHECKPOINTS",
                "You average along the checkpoints, so you get a mean for each quality. Each "
                "*row* is a checkpoint: `dim=1`.",
                (lambda qualities: qualities.shape[0] / (1 / qualities).sum(dim=0),),
            ),
        ),
        invariants=(equals_are_their_own_mean, one_weak_quality_counts),
        remarks=(nothing_buys_a_zero,),
        hints=(
            "A mean in which a small number weighs heavily: take the mean of something that is "
            "large where a quality is small, and undo it at the end.",
            "Q over (1/q_1 + ... + 1/q_Q), for each row. `(1 / qualities).sum(dim=1)` adds up the "
            "reciprocals of each checkpoint.",
            "    return qualities.shape[1] / (1 / ...).sum(dim=...)",
        ),
    ),
    Exercise(
        id="hands_on.state_bytes",
        title="What a run keeps in memory",
        returns="a whole number of bytes; trained and frozen count the model's numbers",
        minutes=8,
        difficulty=1,
        reference=state_bytes,
        solution=state_bytes,
        make_inputs=lambda g: [
            *((859_520_964, 206_714_343), (5_000, 7_000), (300, 20), (0, 17)),
            (randint(g, 1, 10**6), randint(g, 1, 10**6)),
        ],
        verified="16 bytes for each number that learns, 4 for each that does not.",
        variants=(
            Variant(
                "WEIGHTS_ALONE",
                "You count the weights: that is enough to draw with a model, not to train it. "
                "Each number that learns also has a gradient, and two moments in AdamW.",
                (lambda trained, frozen: 4 * (trained + frozen),),
            ),
            Variant(
                "ONE_COPY_MISSING",
                "You count 12 bytes for a number that learns. Go through them: the weight, its "
                "gradient, AdamW's mean of the gradient, and its mean of the *squared* gradient.",
                (lambda trained, frozen: 12 * trained + 4 * frozen,),
            ),
            Variant(
                "NO_OPTIMIZER_STATE",
                "You count weights and gradients, as for an optimizer without a memory. AdamW "
                "keeps two more numbers for each: running means of the gradient and of its "
                "square.",
                (lambda trained, frozen: 8 * trained + 4 * frozen,),
            ),
            Variant(
                "FROZEN_LEARNS_TOO",
                "You count gradient and moments of the frozen parts as well. What is frozen has "
                "none: its weights are all it costs.",
                (lambda trained, frozen: 16 * (trained + frozen),),
            ),
            Variant(
                "FROZEN_FORGOTTEN",
                "You leave the frozen parts out. They do not learn, but they have to be there: the "
                "text encoder reads the prompts, for instance. 4 bytes a number.",
                (lambda trained, frozen: 16 * trained,),
            ),
            Variant(
                "NUMBERS_NOT_BYTES",
                "You count numbers, not bytes. Each of them is a float32 and takes 4 bytes, the "
                "gradient and the moments too.",
                (lambda trained, frozen: 4 * trained + frozen,),
            ),
            Variant(
                "AVERAGE_COUNTED",
                "You count 20 bytes for a number that learns. Is the fifth number its average? A "
                "run that averages its weights keeps one, but it was to be left aside here.",
                (lambda trained, frozen: 20 * trained + 4 * frozen,),
            ),
            Variant(
                "BITS_NOT_BYTES",
                "You count bits. A float32 has 32 bits, which are 4 bytes: divide by 8.",
                (lambda trained, frozen: 128 * trained + 32 * frozen,),
            ),
            Variant(
                "ALL_IN_HALF_PRECISION",
                "You count 2 bytes a number, as if all were kept in 16 bits. Mixed precision only "
                "*computes* in 16 bits: weights and moments stay float32, for a small step would "
                "be rounded away.",
                (lambda trained, frozen: 8 * trained + 2 * frozen,),
            ),
        ),
        invariants=(a_frozen_number_costs_itself, a_trained_number_is_there_four_times),
        hints=(
            "How many numbers does the machine keep for *one* weight that learns? Lesson 03 has "
            "the loop: forward, backward, optimizer.",
            "Write down what is kept of one weight that learns, and of one that is frozen. What "
            "does `backward` leave behind? What does AdamW remember from step to step? Each of "
            "these is a float32 number, of 32 bits.",
            "    copies = 1 + ...  # the weight, its gradient, what AdamW remembers\n"
            "    return 4 * (copies * trained + ...)",
        ),
    ),
)
