"""Lesson 05: from a caption to a picture that obeys it."""

import math
import random
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tlab_diffusion.course.exercise import Exercise, Variant
from tlab_diffusion.course.exercises._shared import PICTURES, faulty_line, randint, randn, uniform
from tlab_diffusion.diffusion import conditioning, guidance

# --- Solutions, as learners are shown them ------------------------------------------------


def contrastive_loss(image_features, text_features, temperature):
    images = torch.nn.functional.normalize(image_features, dim=1)
    texts = torch.nn.functional.normalize(text_features, dim=1)
    logits = images @ texts.T / temperature  # (B, B): every picture with every caption
    own = torch.arange(len(logits))
    of_images = torch.nn.functional.cross_entropy(logits, own)
    of_texts = torch.nn.functional.cross_entropy(logits.T, own)
    return (of_images + of_texts) / 2


def cross_attention(query, key, value):
    scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5  # (B, places, tokens)
    return scores.softmax(dim=-1) @ value


def drop_captions(captions, p, generator):
    draws = torch.rand(len(captions), generator=generator)
    return ["" if draw < p else text for text, draw in zip(captions, draws, strict=True)]


def cfg(eps_uncond, eps_cond, guidance_scale):
    return eps_uncond + guidance_scale * (eps_cond - eps_uncond)


# --- The contrastive loss -----------------------------------------------------------------


def _pairs(generator: torch.Generator, batch: int, width: int, temperature: float) -> tuple:
    images = randn(generator, batch, width)
    texts = 2 * (0.7 * images + randn(generator, batch, width))
    return images.requires_grad_(), texts.requires_grad_(), temperature


def _both_ways(of_images: Tensor, of_texts: Tensor) -> Tensor:
    return (of_images + of_texts) / 2


def _contrastive(
    features: Callable = lambda x: F.normalize(x, dim=1),
    logits: Callable = lambda cosines, temperature: cosines / temperature,
    reduction: str = "mean",
    combine: Callable = _both_ways,
) -> Callable:
    """The contrastive loss, right but for what is handed over."""

    def form(image_features: Tensor, text_features: Tensor, temperature: float) -> Tensor:
        table = logits(features(image_features) @ features(text_features).T, temperature)
        own = torch.arange(len(table))
        rows = F.cross_entropy(table, own, reduction=reduction)
        return combine(rows, F.cross_entropy(table.T, own, reduction=reduction))

    return form


def _own_cosines_only(image_features: Tensor, text_features: Tensor, temperature: float) -> Tensor:
    return -F.cosine_similarity(image_features, text_features).mean()


def _own_logits_only(image_features: Tensor, text_features: Tensor, temperature: float) -> Tensor:
    return _own_cosines_only(image_features, text_features, temperature) / temperature


def silence_costs_log_of_batch(answer: Callable, generator: torch.Generator) -> str | None:
    got = float(answer(torch.ones(6, 4), torch.ones(6, 4), 0.5))
    if abs(got - math.log(6)) > 1e-3:
        return (
            "Where all features are the same, the loss can only guess among the B = 6 captions, "
            f"and should be log 6 = {math.log(6):.3f}; yours is {got:.3f}."
        )
    return None


def length_says_nothing(answer: Callable, generator: torch.Generator) -> str | None:
    images, texts, temperature = _pairs(generator, 5, 6, 0.3)
    images, texts = images.detach(), texts.detach()
    once, again = (float(answer(images, k * texts, temperature)) for k in (1, 3))
    if abs(once - again) > 1e-3:
        return (
            "Features three times as long point the same way, and should cost the same; with "
            f"yours the loss goes from {once:.3f} to {again:.3f}."
        )
    return None


# --- Cross-attention ----------------------------------------------------------------------


def _questions(
    generator: torch.Generator, batch: int, places: int, tokens: int, width: int, of_value: int = 4
):
    query, key = (randn(generator, batch, n, width) for n in (places, tokens))
    return 1.5 * query, key, randn(generator, batch, tokens, of_value)


def _attention(
    scale: Callable = lambda width, tokens: width**-0.5,
    weights: Callable = lambda scores: scores.softmax(dim=-1),
    turned: Callable = lambda key: key.transpose(1, 2),
    answers: Callable = lambda key, value: value,
) -> Callable:
    """Cross-attention, right but for what is handed over."""

    def form(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        scores = query @ turned(key) * scale(query.shape[-1], key.shape[1])
        return weights(scores) @ answers(key, value)

    return form


def _scaled_late(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return (query @ key.mT).softmax(dim=-1) / query.shape[-1] ** 0.5 @ value


def scaled_by_the_values_width(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = query @ key.transpose(1, 2) / value.shape[-1] ** 0.5
    return scores.softmax(dim=-1) @ value


def rows_sum_to_one(answer: Callable, generator: torch.Generator) -> str | None:
    query, key, value = _questions(generator, 2, 5, 3, 4)
    off = (answer(query, key, torch.ones_like(value)) - 1).abs().max()
    if off > 1e-3:
        return (
            "Where every word answers 1, every place should read 1, for its weights sum to 1; "
            f"yours is up to {off:.2g} off. Along which axis do your weights sum to 1?"
        )
    return None


def no_question_no_preference(answer: Callable, generator: torch.Generator) -> str | None:
    query, key, value = _questions(generator, 2, 5, 3, 4)
    got = answer(torch.zeros_like(query), key, value)
    off = (got - value.mean(dim=1, keepdim=True)).abs().max()
    if off > 1e-3:
        return (
            "A place that asks nothing, its query 0, fits every key alike and should read the "
            f"plain mean of the values; yours is up to {off:.2g} away from it."
        )
    return None


# --- Caption dropout ----------------------------------------------------------------------

CAPTIONS = (
    *("a red cat", "a robot in the snow", "a striped blue fish", "a ghost at night"),
    *("a happy dragon", "a teapot on a stage", "a spotted bear", "a house in the rain"),
)
CALLS, REPEATED = 300, 40  # calls of an answer, and those that are made a second time
# What an answer may give back besides captions, each kept or "".
WELL_FORMED, SHORTER, NOT_TEXT, WORDS_MISSING, IN_PLACE, STRANGE = range(6)
# Six standard errors or more of a right answer's shares and correlations over so many calls.
SHARE_OFF, CORRELATED = 0.2, 0.4


def _observe(function: Callable) -> Callable:
    r"""What can be seen of an answer that draws: numbers that no lucky draw changes.

    The result has nine: what comes back (0 where it is captions, kept or ""), which share is
    dropped, whether captions of a call share their fate, whether each call drops as many,
    whether the generator's seed decides, whether the draws go on from call to call, whether the
    dropped ones are always the first or the last of the list, whether some places lose more
    captions than others, and whether two places, or two calls, hang together.
    """

    def seen(captions: Sequence[str], p: float, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**31, (1,), generator=generator))
        first, second = (torch.Generator().manual_seed(seed) for _ in range(2))
        handed = [list(captions) for _ in range(CALLS)]
        results = [function(texts, p, first) for texts in handed]
        again = [function(list(captions), p, second) for _ in range(REPEATED)]
        kind = max(_kind(result, captions) for result in results)
        if kind == WELL_FORMED and any(texts != list(captions) for texts in handed):
            kind = IN_PLACE
        if kind != WELL_FORMED:
            return torch.tensor([kind, *[0] * 8], dtype=torch.float64)
        dropped = torch.tensor([[text == "" for text in result] for result in results])
        goes_on = bool((dropped != dropped[0]).any())
        one_fate = bool((dropped == dropped[:, :1]).all())
        in_order = goes_on and _is_run(dropped)
        share = 0 if one_fate or not goes_on else _nearest_share(dropped.double().mean(), p)
        as_many = goes_on and not one_fate and bool((dropped.sum(1) == dropped[0].sum()).all())
        nothing = not bool(dropped.any())
        by_seed = list(map(list, again)) == list(map(list, results[:REPEATED])) or not goes_on
        ordinary = goes_on and not one_fate and not as_many and not share
        uneven = ordinary and _spread_of_shares(dropped) > SHARE_OFF
        together = ordinary and not uneven and _strongest_correlation(dropped) > CORRELATED
        facts = [kind, share, one_fate, as_many, by_seed, 2 * goes_on + nothing]
        return torch.tensor([*facts, in_order, uneven, together], dtype=torch.float64)

    return seen


def _is_run(dropped: Tensor) -> bool:
    """Whether every call drops the first captions of the list, or every call the last ones."""
    ranked = dropped.int()
    return any(bool((order.diff(dim=1) <= 0).all()) for order in (ranked, ranked.flip(1)))


def _spread_of_shares(dropped: Tensor) -> float:
    """How far the share that is dropped at one place departs from that of all."""
    shares = dropped.double().mean(dim=0)
    return (shares - shares.mean()).abs().max().item()


def _strongest_correlation(dropped: Tensor) -> float:
    """Of two places in one call, or of two calls that follow each other."""
    values = dropped.double()
    one_and_next = torch.cat([values[:-1], values[1:]], dim=1)
    table = torch.corrcoef(one_and_next.T).abs()
    return table.fill_diagonal_(0).max().item()


def _kind(result: object, captions: Sequence[str]) -> int:
    if not isinstance(result, (list, tuple)):
        return STRANGE
    if not all(isinstance(text, str) for text in result):
        return NOT_TEXT if all(isinstance(text, str | None) for text in result) else STRANGE
    if len(result) != len(captions):
        return SHORTER if set(result) <= set(captions) else STRANGE
    changed = [(t, c) for t, c in zip(result, captions, strict=True) if t not in ("", c)]
    if not changed:
        return WELL_FORMED
    fewer = all(set(text.split()) <= set(caption.split()) for text, caption in changed)
    fewer = fewer and any(text.strip() for text, _ in changed)
    return WORDS_MISSING if fewer else STRANGE


def _nearest_share(share: Tensor, p: float) -> int:
    """0 where about a share p is dropped; 1, 2 where it is another that a mistake explains."""
    below = 0.5 * (1 + math.erf(p / math.sqrt(2)))  # the share of normal numbers below p
    off = [abs(share.item() - wanted) for wanted in (p, 1 - p, below)]
    return off.index(min(off)) if min(off) < 0.05 else 3


def _dropped(
    draw: Callable = lambda n, generator: torch.rand(n, generator=generator),
    drop: Callable = lambda draws, p: draws < p,
    null: str | None = "",
) -> Callable:
    """Caption dropout, right but for what is handed over."""

    def form(captions: Sequence[str], p: float, generator: torch.Generator) -> list:
        chosen = drop(draw(len(captions), generator), p)
        return [null if out else text for text, out in zip(captions, chosen, strict=True)]

    return form


def _left_out(captions: Sequence[str], p: float, generator: torch.Generator) -> list[str]:
    draws = torch.rand(len(captions), generator=generator)
    return [text for text, draw in zip(captions, draws, strict=True) if draw >= p]


def _all_or_none(captions: Sequence[str], p: float, generator: torch.Generator) -> list[str]:
    out = torch.rand(1, generator=generator) < p
    return [""] * len(captions) if out else list(captions)


def _words_dropped(captions: Sequence[str], p: float, generator: torch.Generator) -> list[str]:
    def some(text: str) -> str:
        draws = torch.rand(len(text.split()), generator=generator)
        return " ".join(w for w, draw in zip(text.split(), draws, strict=True) if draw >= p)

    return [some(text) for text in captions]


def _in_place(captions: list[str], p: float, generator: torch.Generator) -> list[str]:
    for i, draw in enumerate(torch.rand(len(captions), generator=generator)):
        if draw < p:
            captions[i] = ""
    return captions


def _fixed_number(captions: Sequence[str], p: float, generator: torch.Generator) -> list[str]:
    order = torch.randperm(len(captions), generator=generator)
    out = set(order[: round(p * len(captions))].tolist())
    return ["" if i in out else text for i, text in enumerate(captions)]


def _first_ones(captions: Sequence[str], p: float, generator: torch.Generator) -> list[str]:
    number = int((torch.rand(len(captions), generator=generator) < p).sum())
    return [""] * number + list(captions[number:])


def _last_ones(captions: Sequence[str], p: float, generator: torch.Generator) -> list[str]:
    return _first_ones(captions[::-1], p, generator)[::-1]


def _shared_by_neighbours(
    captions: Sequence[str], p: float, generator: torch.Generator
) -> list[str]:
    draws = torch.rand(1 + len(captions) // 2, generator=generator)
    return ["" if draws[i // 2] < p else text for i, text in enumerate(captions)]


def _shared_by_equals(captions: Sequence[str], p: float, generator: torch.Generator) -> list[str]:
    out = {text: torch.rand((), generator=generator) < p for text in captions}
    return ["" if out[text] else text for text in captions]


def _reseeded(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(0))


def _python_draws(n: int, generator: torch.Generator) -> Tensor:
    draws = random.Random()  # noqa: S311
    return torch.tensor([draws.random() for _ in range(n)])


def _batches_of_captions(generator: torch.Generator) -> list[tuple]:
    # One text comes twice, so that an answer that looks captions up by their text shows.
    twice = [*CAPTIONS[:3], CAPTIONS[0], CAPTIONS[4]]
    many = [f"picture number {n}" for n in range(11)]
    cases = ((CAPTIONS, 0.25), (CAPTIONS, 0.125), (twice, 0.5), (many, 0.3), (CAPTIONS[:1], 0.4))
    cases = (*cases, (CAPTIONS[:3], 0.0), (CAPTIONS[:3], 1.0))
    return [
        (list(captions), p, torch.Generator().manual_seed(randint(generator, 0, 2**31 - 1)))
        for captions, p in cases
    ]


def returns_as_many_captions(answer: Callable, generator: torch.Generator) -> str | None:
    result = answer(list(CAPTIONS), 0.5, generator)
    if result is None:
        return "Your function returns nothing. Did you forget `return`?"
    if not isinstance(result, (list, tuple)) or not all(isinstance(t, str) for t in result):
        return 'Return a list of strings: each caption, or "" where it is dropped.'
    if len(result) != len(CAPTIONS):
        return f"{len(CAPTIONS)} captions go in, {len(result)} come out: every picture needs one."
    if any(text not in ("", caption) for text, caption in zip(result, CAPTIONS, strict=True)):
        return 'A caption that is kept stays as it is; one that is dropped becomes "".'
    return None


def drops_a_share_of_p(answer: Callable, generator: torch.Generator) -> str | None:
    captions = [*CAPTIONS, *CAPTIONS]
    texts = [text for _ in range(CALLS) for text in answer(list(captions), 0.25, generator)]
    share = texts.count("") / (CALLS * len(captions))
    if abs(share - 0.25) > 0.05:
        return f"With p = 0.25, {share:.0%} of {CALLS * len(captions)} captions were dropped."
    return None


def draws_are_independent(answer: Callable, generator: torch.Generator) -> str | None:
    facts = _observe(answer)(CAPTIONS, 0.25, torch.Generator().manual_seed(0))
    *_, by_seed, goes_on, in_order, uneven, together = map(bool, facts.tolist())
    if not goes_on:
        return "Every call drops the same captions: the draws do not go on from call to call."
    if in_order or uneven:
        return (
            "Some places of the list lose their captions more often than others. Each caption "
            "should be dropped with the same probability, wherever it stands."
        )
    if together:
        return (
            "Whether one caption is dropped tells something of another one, or of the next call. "
            "Each needs a draw of its own."
        )
    if not by_seed:
        return (
            "With a generator in the same state, your function drops other captions the second "
            "time. All that it draws should come from `generator`."
        )
    return None


def never_and_always(answer: Callable, generator: torch.Generator) -> str | None:
    if any(list(answer(list(CAPTIONS), 0.0, generator)) != list(CAPTIONS) for _ in range(20)):
        return "With p = 0 no caption may be dropped."
    if any(set(answer(list(CAPTIONS), 1.0, generator)) != {""} for _ in range(20)):
        return "With p = 1 every caption must be dropped."
    return None


# --- Classifier-free guidance -------------------------------------------------------------


def _predictions(generator: torch.Generator, shape: tuple, scale: float) -> tuple:
    return randn(generator, *shape), randn(generator, *shape), scale


def one_is_conditional(answer: Callable, generator: torch.Generator) -> str | None:
    uncond, cond, _ = _predictions(generator, PICTURES[0], 1.0)
    if (answer(uncond, cond, 1.0) - cond).abs().max() > 1e-3:
        return "At scale 1 guidance is off: the result should be eps_cond, and is not."
    return None


def zero_is_unconditional(answer: Callable, generator: torch.Generator) -> str | None:
    uncond, cond, _ = _predictions(generator, PICTURES[0], 0.0)
    if (answer(uncond, cond, 0.0) - uncond).abs().max() > 1e-3:
        return "At scale 0 the condition is ignored: the result should be eps_uncond, and is not."
    return None


# --- Find the bug -------------------------------------------------------------------------

SNIPPETS = (
    """
def guided_eps(model, x_t, t, words, no_words, guidance_scale):
    # one pass for both questions, the one without words first
    both = torch.cat([no_words, words])
    out = model(torch.cat([x_t, x_t]), torch.cat([t, t]), both)
    eps_cond, eps_uncond = out.chunk(2)
    return eps_uncond + guidance_scale * (eps_cond - eps_uncond)
""",
    """
def train_step(model, optimizer, x0, labels, num_classes, alphas_cumprod):
    # labels: (B,) from 0 to num_classes - 1; the model's table has num_classes + 1 rows
    dropped = torch.rand(len(labels)) < 0.1
    labels = torch.where(dropped, 0, labels)
    loss = noise_loss(lambda x_t, t: model(x_t, t, labels), x0, alphas_cumprod)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
    """
def guided_sample(model, x_T, words, no_words, guidance_scale, timesteps):
    told, untold = x_T, x_T
    for t, t_prev in zip(timesteps, [*timesteps[1:], -1]):
        told = ddim_step(told, t, t_prev, model(told, t, words))
        untold = ddim_step(untold, t, t_prev, model(untold, t, no_words))
    return untold + guidance_scale * (told - untold)
""",
    """
def train_step(model, encode, optimizer, x0, captions, alphas_cumprod, generator):
    kept = drop_captions(captions, 0.1, generator)
    words = encode(captions)
    loss = noise_loss(lambda x_t, t: model(x_t, t, words), x0, alphas_cumprod)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
)


def find_the_bug(snippet):
    return {1: 5, 2: 4, 3: 6, 4: 3}[snippet]


BUGS = (
    faulty_line(
        1,
        5,
        "Snippet 1: not that line. At scale 0 this function gives the answer with words. Follow "
        "the first half of the batch through the code.",
    ),
    faulty_line(
        2,
        4,
        "Snippet 2: not that line. After this training, class 0 looks odd, and so does every "
        "unconditional sample. What does the model believe about the label 0?",
    ),
    faulty_line(
        3,
        6,
        "Snippet 3: not that line. Each of the two pictures is good on its own. Where should "
        "guidance act, and where does it act here?",
    ),
    faulty_line(
        4,
        3,
        "Snippet 4: not that line. It trains well, but guidance makes the pictures worse. Has "
        "this model ever seen an empty caption?",
    ),
)


EXERCISES = (
    Exercise(
        id="guidance.contrastive_loss",
        title="Pictures and captions, matched",
        returns="a scalar; image_features and text_features are (B, D), pair by pair",
        minutes=15,
        difficulty=2,
        reference=conditioning.contrastive_loss,
        solution=contrastive_loss,
        make_inputs=lambda g: [
            _pairs(g, 5, 6, 0.3),
            _pairs(g, 8, 3, 0.5),
            _pairs(g, 4, 4, 0.2),
            _pairs(g, 6, 3, 0.05),
            _pairs(g, 3, 7, uniform(g, 0.07, 1.5)),
        ],
        verified="Every picture looks for its caption and every caption for its picture, by "
        "cosine, and at your temperature.",
        variants=(
            Variant(
                "NOT_NORMALISED",
                "You take plain products of the features, so a long feature is near to "
                "everything. CLIP compares directions: divide each feature by its own length "
                "first (`F.normalize(x, dim=1)`).",
                (_contrastive(features=lambda x: x),),
            ),
            Variant(
                "NORMALISED_OVER_BATCH",
                "You normalise along the batch. Each *row* is one feature, and must get length "
                "1: `dim=1`.",
                (_contrastive(features=lambda x: F.normalize(x, dim=0)),),
            ),
            Variant(
                "TEMPERATURE_MULTIPLIED",
                "You multiply by the temperature. A low temperature should make differences "
                "*larger*: divide the cosines by it.",
                (_contrastive(logits=lambda cosines, temperature: cosines * temperature),),
            ),
            Variant(
                "TEMPERATURE_LEFT_OUT",
                "The temperature does nothing. Cosines lie between -1 and 1, too close together "
                "for a softmax to be sure of anything: divide them by the temperature.",
                (_contrastive(logits=lambda cosines, temperature: cosines),),
            ),
            Variant(
                "ONE_DIRECTION",
                "You ask in one direction only. Pictures look for their captions along the rows "
                "of the table, captions for their pictures along its columns: take the "
                "cross-entropy of `logits` and of `logits.T`, and their mean.",
                (
                    _contrastive(combine=lambda of_images, of_texts: of_images),
                    _contrastive(combine=lambda of_images, of_texts: of_texts),
                ),
            ),
            Variant(
                "SUM_OF_DIRECTIONS",
                "Both directions are there, but added up: take their mean, so that the loss is "
                "log B where features say nothing.",
                (_contrastive(combine=lambda of_images, of_texts: of_images + of_texts),),
            ),
            Variant(
                "SUM_NOT_MEAN",
                "You add up over the batch, so the loss grows with it. Take the mean over pairs.",
                (_contrastive(reduction="sum"),),
            ),
            Variant(
                "SOFTMAX_TWICE",
                "You hand probabilities to `cross_entropy`, which takes logits and does a softmax "
                "itself, the second one. Leave yours out.",
                (_contrastive(logits=lambda c, temperature: (c / temperature).softmax(dim=1)),),
            ),
            Variant(
                "ONLY_THE_PAIRS",
                "You pull each pair together, but push nothing apart: the easiest way to obey is "
                "one and the same feature for everything. The other captions of the batch must "
                "count as wrong answers.",
                (_own_cosines_only, _own_logits_only),
            ),
        ),
        invariants=(silence_costs_log_of_batch, length_says_nothing),
        hints=(
            "It is a classification, twice. For picture i the classes are the B captions of the "
            "batch, and the right class is i.",
            "Make both features unit length; their products are a (B, B) table of cosines. "
            "Divide by the temperature. Row i should pick column i, column i should pick row i.",
            "    images = F.normalize(image_features, dim=1)  # texts likewise\n"
            "    logits = images @ texts.T / ...\n"
            "    own = torch.arange(len(logits))\n"
            "    return (F.cross_entropy(logits, own) + F.cross_entropy(..., own)) / 2",
        ),
    ),
    Exercise(
        id="guidance.cross_attention",
        title="Places ask, words answer",
        returns="(B, N, E); query is (B, N, D), key (B, M, D), value (B, M, E)",
        minutes=12,
        difficulty=2,
        reference=conditioning.cross_attention,
        solution=cross_attention,
        make_inputs=lambda g: [
            _questions(g, 2, 5, 3, 4),
            _questions(g, 3, 4, 7, 9),
            _questions(g, 1, 6, 3, 5),
            _questions(g, 3, 3, 3, 3, of_value=3),
            _questions(g, 2, 1, randint(g, 1, 6), 4, of_value=randint(g, 1, 5)),
        ],
        verified="Each place reads a mean of the words' values, weighted by a softmax over the "
        "words.",
        variants=(
            Variant(
                "NOT_SCALED",
                "You leave out the division by `sqrt(D)`. A product of D numbers grows like "
                "`sqrt(D)`, and an unscaled softmax soon looks at one word alone.",
                (_attention(scale=lambda width, tokens: 1),),
            ),
            Variant(
                "SCALED_BY_D",
                "You divide by D. It is the *variance* of a product of D numbers that is D, so "
                "the scores' size is `sqrt(D)`: divide by the root.",
                (_attention(scale=lambda width, tokens: 1 / width),),
            ),
            Variant(
                "SCALED_BY_VALUE_WIDTH",
                "You divide by the root of the values' width. It is queries and keys that are "
                "multiplied: D is *their* width.",
                (scaled_by_the_values_width,),
            ),
            Variant(
                "SCALED_BY_TOKENS",
                "You divide by the root of the number of tokens. Each score is a sum over the D "
                "channels of query and key: `query.shape[-1]`.",
                (_attention(scale=lambda width, tokens: tokens**-0.5),),
            ),
            Variant(
                "MULTIPLIED_BY_ROOT",
                "You multiply by `sqrt(D)` where you should divide: the scores become larger "
                "still, and the softmax looks at one word alone.",
                (_attention(scale=lambda width, tokens: width**0.5),),
            ),
            Variant(
                "SCALED_AFTER_SOFTMAX",
                "You divide after the softmax, so the weights of a place no longer sum to 1. "
                "Divide the scores first.",
                (_scaled_late,),
            ),
            Variant(
                "SOFTMAX_WRONG_AXIS",
                "Your weights sum to 1 along the wrong axis: the words share out the places. "
                "Each *place* has one unit of attention to share out among the words, and words "
                "are the last axis of the scores: `softmax(dim=-1)`.",
                (
                    _attention(weights=lambda scores: scores.softmax(dim=1)),
                    _attention(weights=lambda scores: scores.softmax(dim=0)),
                ),
            ),
            Variant(
                "NO_SOFTMAX",
                "You use the scores themselves as weights: they can be negative, and sum to "
                "anything. Take a softmax over the words.",
                (_attention(weights=lambda scores: scores),),
            ),
            Variant(
                "KEY_RESHAPED",
                "You `reshape` or `view` the key to (B, D, M). That reads the same numbers in "
                "another order and mixes words with one another; use `transpose(1, 2)`.",
                (_attention(turned=lambda key: key.reshape(len(key), key.shape[2], -1)),),
            ),
            Variant(
                "KEYS_READ_AS_VALUES",
                "The weights are right, but what is read with them are the keys. A key says "
                "whether a word fits, its *value* what it answers.",
                (_attention(answers=lambda key, value: key),),
            ),
        ),
        invariants=(rows_sum_to_one, no_question_no_preference),
        hints=(
            "Compare every query with every key by a product; turn each place's scores into "
            "weights that sum to 1; take the weighted mean of the values.",
            "`query @ key.transpose(1, 2)` is (B, places, tokens). Divide by the root of the "
            "number of channels, softmax over the last axis, then `@ value`.",
            "    scores = query @ key.transpose(1, 2) / ... ** 0.5\n"
            "    return scores.softmax(dim=...) @ value",
        ),
    ),
    Exercise(
        id="guidance.drop_captions",
        title="Caption dropout",
        returns='a list of B strings: each caption becomes "" with probability p',
        minutes=8,
        difficulty=1,
        reference=guidance.drop_captions,
        solution=drop_captions,
        make_inputs=_batches_of_captions,
        observe=_observe,
        verified="Each caption has a draw of its own, from your generator, and about a share p "
        "becomes the empty one.",
        variants=(
            Variant(
                "DROPOUT_PER_BATCH",
                "You draw once for the whole batch, so either all captions go or none. Most "
                "batches then teach nothing about empty captions, and a few nothing else: draw "
                "once for *each* caption.",
                (_all_or_none,),
            ),
            Variant(
                "NO_DROPOUT_IN_TRAINING",
                "No caption is ever dropped. A model trained so has never answered without a "
                'caption, and guidance would compare with a guess: `""` must come up in '
                "training.",
                (
                    lambda captions, p, generator: list(captions),
                    _dropped(drop=lambda draws, p: draws < 0),
                ),
            ),
            Variant(
                "P_IS_KEPT",
                "You keep a share p and drop the rest. p is the probability that a caption is "
                "*dropped*: turn the comparison round.",
                (_dropped(drop=lambda draws, p: draws >= p),),
            ),
            Variant(
                "NORMAL_FOR_UNIFORM",
                "You compare p with normal numbers: about half of them are below 0, so far too "
                "many captions go. A probability is compared with *uniform* numbers: "
                "`torch.rand`, not `torch.randn`.",
                (_dropped(draw=lambda n, generator: torch.randn(n, generator=generator)),),
            ),
            Variant(
                "FIXED_NUMBER",
                "You drop the same number of captions each time. Then the fates of a batch hang "
                "together, and for a small batch `p * B` rounds to 0: let each caption draw on "
                "its own.",
                (_fixed_number,),
            ),
            Variant(
                "ALWAYS_AT_ONE_END",
                "You draw how many captions to drop, and drop them at one end of the list. The "
                "pictures at that end then lose their captions most of the time, those at the "
                "other end hardly ever: let each caption draw on its own.",
                (_first_ones, _last_ones),
            ),
            Variant(
                "DRAW_SHARED",
                "Some captions share a draw: neighbours, or those with the same text. Each of the "
                "B captions needs one of its own.",
                (_shared_by_neighbours, _shared_by_equals),
            ),
            Variant(
                "CAPTION_LEFT_OUT",
                "You leave the dropped captions out of the list, so the rest slide over to other "
                'pictures. Put "" in their place: B captions in, B captions out.',
                (_left_out,),
            ),
            Variant(
                "NONE_FOR_EMPTY",
                "You put None in the place of a dropped caption. The tokenizer takes strings, "
                'and "nothing" has a word of its own: the empty string `""`.',
                (_dropped(null=None),),
            ),
            Variant(
                "WORDS_DROPPED",
                "You drop words. Guidance compares a picture's whole caption with no caption at "
                "all: keep or drop it as a whole.",
                (_words_dropped,),
            ),
            Variant(
                "GENERATOR_IGNORED",
                "You draw from elsewhere, not from the generator that you are given, so nobody "
                "can repeat your run: `torch.rand(..., generator=generator)`.",
                (_dropped(draw=lambda n, generator: torch.rand(n)), _dropped(draw=_python_draws)),
            ),
            Variant(
                "RESEEDED",
                "Every call drops the same captions: you seed a generator anew inside. Take the "
                "draws from the one you are given, which goes on from call to call.",
                (
                    _dropped(draw=_reseeded),
                    _dropped(
                        draw=lambda n, g: torch.rand(n, generator=g.manual_seed(g.initial_seed()))
                    ),
                ),
            ),
            Variant(
                "INPUT_MUTATED",
                "Your function writes into the caller's list `captions`, which is the data set's "
                "own: after a few epochs no captions would be left. Make a new list instead.",
                (_in_place,),
            ),
        ),
        invariants=(
            returns_as_many_captions,
            drops_a_share_of_p,
            never_and_always,
            draws_are_independent,
        ),
        hints=(
            "Toss a coin for each caption, one that falls on its face with probability p.",
            "Draw one uniform number from 0 to 1 for each caption, with the generator that you "
            "are given. How probable is it that such a number is below 0.3?",
            "    draws = torch.rand(len(captions), generator=...)\n"
            '    return ["" if ... else text for text, draw in zip(captions, draws)]',
        ),
    ),
    Exercise(
        id="guidance.cfg",
        title="Classifier-free guidance",
        returns="the guided prediction, shaped like eps_cond",
        minutes=5,
        difficulty=1,
        reference=guidance.cfg,
        solution=cfg,
        make_inputs=lambda g: [
            _predictions(g, shape, scale)
            for shape, scale in (
                *zip(PICTURES, (3.0, 7.5, 0.4, uniform(g, 1.0, 15.0)), strict=True),
                *(((3, 5), 0.0), ((2, 4, 3), 1.0)),
            )
        ],
        verified="Scale 0 is the model without words, 1 with them, and more goes further the "
        "same way.",
        variants=(
            Variant(
                "OFF_BY_ONE_SCALE",
                "Your scale is one off. The guidance paper's w counts what is *added* to the "
                "conditional answer; `guidance_scale` is 1 + w. Start at eps_uncond, so that 0 is "
                "unconditional and 1 conditional.",
                (
                    lambda uncond, cond, scale: cond + scale * (cond - uncond),
                    lambda uncond, cond, scale: uncond + (scale - 1) * (cond - uncond),
                ),
            ),
            Variant(
                "COND_UNCOND_SWAPPED",
                "The two predictions have changed places: at scale 1 you get the unconditional "
                "one, and more scale leads *away* from the words. (Where both come out of one "
                "batch, it is the order of the two halves.)",
                (lambda uncond, cond, scale: cond + scale * (uncond - cond),),
            ),
            Variant(
                "DIRECTION_REVERSED",
                "You start at the right place and go the wrong way: the difference is "
                "`eps_cond - eps_uncond`, from without words to with them.",
                (lambda uncond, cond, scale: uncond - scale * (cond - uncond),),
            ),
            Variant(
                "ONLY_THE_DIFFERENCE",
                "You return the difference alone. It is a direction; it must be added to "
                "eps_uncond, where it starts.",
                (lambda uncond, cond, scale: scale * (cond - uncond),),
            ),
            Variant(
                "UNCOND_NOT_SUBTRACTED",
                "You add the whole conditional prediction. Only what the words *change*, "
                "`eps_cond - eps_uncond`, is scaled: else the noise is counted twice.",
                (lambda uncond, cond, scale: uncond + scale * cond,),
            ),
            Variant(
                "WEIGHTED_MEAN",
                "You take a mean, which stays between the two predictions. Guidance goes "
                "*beyond* the conditional one: the weights, 1 - scale and scale, sum to 1 but "
                "one of them is negative.",
                (lambda uncond, cond, scale: (uncond + scale * cond) / (1 + scale),),
            ),
            Variant(
                "SCALED_CONDITION",
                "You scale the conditional prediction and leave the other out. Without something "
                "to compare with, nobody can say what the words change.",
                (lambda uncond, cond, scale: scale * cond,),
            ),
        ),
        invariants=(one_is_conditional, zero_is_unconditional),
        hints=(
            "On a line from the answer without words to the answer with them: where is scale 0, "
            "where is 1, and where is 2?",
            "Start at `eps_uncond`, and go `guidance_scale` times the way to `eps_cond`.",
            "    return eps_uncond + guidance_scale * (... - ...)",
        ),
    ),
    Exercise(
        id="guidance.find_the_bug",
        title="Find the bug: guidance",
        returns="the number of the faulty line of snippet 1, 2, 3 or 4",
        minutes=12,
        difficulty=2,
        reference=find_the_bug,
        solution=find_the_bug,
        make_inputs=lambda g: [(1,), (2,), (3,), (4,)],
        verified="Found: halves taken out in another order than they were put in (CHUNK_ORDER); "
        "a real class used as the word for nothing (NULL_IS_CLASS_0); guidance on finished "
        "pictures instead of predictions (BLENDS_SAMPLES_NOT_EPS); and captions dropped, but "
        "not used (NO_DROPOUT_IN_TRAINING).",
        invariants=BUGS,
        snippets=SNIPPETS,
        hints=(
            "All four run without an error. Ask of each: what does the model see in training, and "
            "what is compared with what in sampling?",
            "Snippet 1: which half comes first? Snippet 2: what does a dropped label become? "
            "Snippet 3: do the two chains ever hear of each other? Snippet 4: follow `kept`.",
            "Snippet 1: the batch has no_words first.",
            "Snippet 2: class 0 is a class; the row for nothing is `num_classes`.",
            "Snippet 3: a sum of two finished pictures is no picture; predictions have to be "
            "combined at every step.",
            "Snippet 4: the dropped captions are never encoded.",
        ),
    ),
)
