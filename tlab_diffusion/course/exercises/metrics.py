"""Lesson 07: how the paper measures what DreamBooth has done."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tlab_diffusion.course.answer_check import told_apart
from tlab_diffusion.course.exercise import Exercise, Variant
from tlab_diffusion.course.exercises._shared import faulty_line, rand, randn
from tlab_diffusion.evaluation import metrics

# --- Solutions, as learners are shown them ------------------------------------------------


def image_similarity(generated, real):
    generated = torch.nn.functional.normalize(generated, dim=1)
    real = torch.nn.functional.normalize(real, dim=1)
    return (generated @ real.T).mean()  # (N, M): every generated picture with every real one


def prompt_similarity(image_features, text_features):
    images = torch.nn.functional.normalize(image_features, dim=1)
    texts = torch.nn.functional.normalize(text_features, dim=1)
    return (images * texts).sum(dim=1).mean()  # each picture with its own prompt


def diversity(features):
    features = torch.nn.functional.normalize(features, dim=1)
    cosine = features @ features.T
    n = len(features)
    distinct = ~torch.eye(n, dtype=torch.bool)  # all pairs but those of a picture with itself
    return (1 - cosine[distinct]).mean()


# --- What all three share -----------------------------------------------------------------


def _features(generator: torch.Generator, number: int, width: int) -> Tensor:
    """Features around a common direction, as an encoder's are, of very different lengths."""
    lengths = rand(generator, number, 1, low=0.3, high=3.3)
    return lengths * (0.6 + randn(generator, number, width))


def _two_sets(
    generator: torch.Generator, n: int, m: int, width: int, towards: int = 1
) -> tuple[Tensor, Tensor]:
    """Two sets around one direction, or, with `towards` -1, around opposite ones."""
    return _features(generator, n, width), towards * _features(generator, m, width)


def _rows(x: Tensor) -> Tensor:
    return F.normalize(x, dim=1)


def _table(a: Tensor, b: Tensor) -> Tensor:
    """All cosines: (N, M)."""
    return _rows(a) @ _rows(b).T


def _cosine_of_means(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a.mean(dim=0), b.mean(dim=0), dim=0)


NOT_NORMALISED = (
    "You take plain products of the features, so a long feature counts more than a short one, and "
    "the result can exceed 1. A cosine compares directions: divide each row by its own length "
    "first (`torch.nn.functional.normalize(x, dim=1)`)."
)
NORMALISED_OVER_BATCH = (
    "You normalise along the batch. Each *row* is one feature and must get length 1: `dim=1`."
)
TIMES_100 = (
    "The value is right, but a hundred times too large. Some libraries report a similarity as "
    "0 to 100; the paper's tables, and ours, run from -1 to 1."
)


def length_says_nothing_of(arguments: Callable) -> Callable:
    """A property: features of another length change nothing."""

    def length_says_nothing(answer: Callable, generator: torch.Generator) -> str | None:
        features = arguments(generator)
        longer = [(2 + torch.arange(len(f)).reshape(-1, 1)) * f for f in features]
        once, again = float(answer(*features)), float(answer(*longer))
        if abs(once - again) > 1e-4:
            before, after = told_apart(once, again)
            return (
                "Each feature made longer, by a factor of its own, still points the same way, and "
                f"nothing should change; yours goes from {before} to {after}."
            )
        return None

    return length_says_nothing


# --- Image similarity ---------------------------------------------------------------------


def _nearest(generated: Tensor, real: Tensor) -> Tensor:
    return _table(generated, real).amax(dim=1).mean()


def _side_by_side(generated: Tensor, real: Tensor) -> Tensor:
    pairs = list(zip(_rows(generated), _rows(real), strict=False))
    return torch.stack([one @ other for one, other in pairs]).mean()


def a_picture_is_like_itself(answer: Callable, generator: torch.Generator) -> str | None:
    picture = _features(generator, 1, 5)
    got = float(answer(picture, picture))
    if abs(got - 1) > 1e-3:
        return f"A picture compared with itself should score 1; yours scores {got:.3f}."
    return None


def every_real_picture_counts(answer: Callable, generator: torch.Generator) -> str | None:
    axes = torch.eye(4)
    got = float(answer(axes[:1], axes))
    if abs(got - 0.25) > 1e-3:
        return (
            "One generated picture is exactly like one of four real ones, and at right angles to "
            f"the other three. The mean over all pairs is 0.25; yours is {got:.3f}."
        )
    return None


# --- Prompt similarity --------------------------------------------------------------------


def each_has_its_own_prompt(answer: Callable, generator: torch.Generator) -> str | None:
    axes = torch.eye(3)
    for texts, right, what in ((axes, 1, "its own"), (axes.roll(1, dims=0), 0, "another's")):
        got = float(answer(axes, texts))
        if abs(got - right) > 1e-3:
            return (
                "Three pictures point along three axes. Where each meets the text of "
                f"{what} picture, the mean cosine is {right}; yours is {got:.3f}."
            )
    return None


# --- Diversity ----------------------------------------------------------------------------


def _upper(features: Tensor) -> Tensor:
    """1 - cosine of each pair, once."""
    distances = 1 - _table(features, features)
    first, second = torch.triu_indices(len(features), len(features), offset=1)
    return distances[first, second]


def _neighbours(features: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(features[1:], features[:-1], dim=1).mean()


def _plain_products(features: Tensor) -> Tensor:
    distances = 1 - features @ features.T
    n = len(features)
    return (distances.sum() - distances.diagonal().sum()) / (n * (n - 1))


def copies_have_none(answer: Callable, generator: torch.Generator) -> str | None:
    got = float(answer(_features(generator, 1, 5).repeat(4, 1)))
    if abs(got) > 1e-3:
        return f"Four copies of one picture have diversity 0; yours gives {got:.3f}."
    return None


def right_angles_have_one(answer: Callable, generator: torch.Generator) -> str | None:
    got = float(answer(3 * torch.eye(4)))
    if abs(got - 1) > 1e-3:
        return (
            "Four features at right angles to one another: every distinct pair has cosine 0, so "
            f"the mean of 1 - cosine is 1; yours is {got:.3f}. Which pairs does your mean take?"
        )
    return None


# --- Find the bug -------------------------------------------------------------------------

SNIPPETS = (
    """
def clip_t(tuned, clip, identifier, class_noun, places):
    # prompt fidelity: does the picture show what the words say?
    subject = f"a {identifier} {class_noun}"
    pictures = [draw(tuned, f"{subject} {place}") for place in places]
    texts = clip.encode_texts([f"{subject} {place}" for place in places])
    return prompt_similarity(clip.encode_images(pictures), texts)
""",
    """
def dino_features(vit, pictures):
    # the transformer's answer has the class token first, then one token a patch
    pixels = normalise(centre_crop(resize(pictures, 256), 224))
    tokens = vit(pixels)  # (N, 1 + patches, D)
    return tokens[:, 1:].mean(dim=1)
""",
    """
def subject_fidelity(encode, generated, real):
    scores = []
    features = encode(generated)
    references = encode(real[:1])
    for feature in features:
        scores.append(image_similarity(feature[None], references))
    return torch.stack(scores).mean()
""",
    """
def pres(tuned, encode, identifier, class_noun, real):
    # how much of the class has turned into the subject: low is good
    features = encode(real)
    prompt = f"a {identifier} {class_noun}"
    pictures = [draw(tuned, prompt, seed=seed) for seed in range(8)]
    return image_similarity(encode(pictures), features)
""",
)


def find_the_bug(snippet):
    return {1: 5, 2: 5, 3: 4, 4: 4}[snippet]


BUGS = (
    faulty_line(
        1,
        5,
        "Snippet 1: not that line. CLIP was trained long before this subject had a name. What "
        "does it make of the words it is given here?",
    ),
    faulty_line(
        2,
        5,
        "Snippet 2: not that line. The paper compares one token of the transformer. Which one "
        "was trained to stand for the whole picture?",
    ),
    faulty_line(
        3,
        4,
        "Snippet 3: not that line. The score depends on which photo comes first in the folder. "
        "Which line makes it so?",
    ),
    faulty_line(
        4,
        4,
        "Snippet 4: not that line. The score is high even for the best of models. Whom should "
        "these pictures show: the subject, or its relatives?",
    ),
)


EXERCISES = (
    Exercise(
        id="metrics.image_similarity",
        title="Is it the subject?",
        returns="a scalar; generated is (N, D), real (M, D), features of any length",
        minutes=8,
        difficulty=1,
        reference=metrics.image_similarity,
        solution=image_similarity,
        make_inputs=lambda g: [
            _two_sets(g, 5, 3, 6),
            _two_sets(g, 4, 4, 4),
            _two_sets(g, 2, 5, 7),
            _two_sets(g, 1, 3, 5, towards=-1),
            _two_sets(g, 4, 1, 3),
        ],
        verified="The mean cosine of every generated picture with every real one: the paper's "
        "DINO and CLIP-I, depending on whose features you hand it.",
        variants=(
            Variant(
                "NOT_NORMALISED",
                NOT_NORMALISED,
                (lambda generated, real: (generated @ real.T).mean(),),
            ),
            Variant(
                "NORMALISED_OVER_BATCH",
                NORMALISED_OVER_BATCH,
                (
                    lambda generated, real: (
                        F.normalize(generated, dim=0) @ F.normalize(real, dim=0).T
                    ).mean(),
                ),
            ),
            Variant(
                "MEAN_THEN_COSINE",
                "You average the features and take one cosine. Averages of different pictures are "
                "more alike than the pictures, so the score flatters. Take the cosine of every "
                "pair first, the mean last.",
                (
                    _cosine_of_means,
                    lambda generated, real: _cosine_of_means(_rows(generated), _rows(real)),
                ),
            ),
            Variant(
                "SINGLE_REFERENCE",
                "You compare with one real picture only, so the score depends on which one comes "
                "first. All M real pictures show the subject: take every pair.",
                (lambda generated, real: _table(generated, real[:1]).mean(),),
            ),
            Variant(
                "SIDE_BY_SIDE",
                "You compare the first generated picture with the first real one, the second with "
                "the second, and so on. They are no pairs: compare each with all, which is a "
                "matrix product, `generated @ real.T`.",
                (_side_by_side,),
            ),
            Variant(
                "NEAREST_ONLY",
                "You take only the most similar real picture of each. That rewards a copy of one "
                "photo; the paper takes the mean over all pairs.",
                (_nearest, lambda generated, real: _table(generated, real).amax(dim=0).mean()),
            ),
            Variant(
                "SUM_NOT_MEAN",
                "You add up the cosines, so the score grows with the number of pictures. Take "
                "their mean.",
                (
                    lambda generated, real: _table(generated, real).sum(),
                    lambda generated, real: _table(generated, real).sum(dim=1).mean(),
                ),
            ),
            Variant(
                "DISTANCE_NOT_SIMILARITY",
                "You return 1 - cosine: a distance, high where pictures differ. A similarity is "
                "the cosine itself.",
                (lambda generated, real: 1 - _table(generated, real).mean(),),
            ),
            Variant(
                "TIMES_100",
                TIMES_100,
                (lambda generated, real: 100 * _table(generated, real).mean(),),
            ),
        ),
        invariants=(
            a_picture_is_like_itself,
            length_says_nothing_of(lambda g: _two_sets(g, 4, 3, 5)),
            every_real_picture_counts,
        ),
        hints=(
            "Two features are alike where they point the same way, whatever their lengths. And "
            "no generated picture belongs to one real picture: compare each with all.",
            "Give every row length 1. Then `generated @ real.T` holds the cosine of every pair, "
            "(N, M) of them; take their mean.",
            "    normalize = torch.nn.functional.normalize\n"
            "    generated = normalize(..., dim=1)\n"
            "    real = normalize(..., dim=1)\n"
            "    return (generated @ ...).mean()",
        ),
    ),
    Exercise(
        id="metrics.prompt_similarity",
        title="Does it obey the prompt?",
        returns="a scalar; image_features and text_features are (N, D), pair by pair",
        minutes=6,
        difficulty=1,
        reference=metrics.prompt_similarity,
        solution=prompt_similarity,
        make_inputs=lambda g: [
            _two_sets(g, 5, 5, 6),
            _two_sets(g, 4, 4, 4),
            _two_sets(g, 3, 3, 8),
            _two_sets(g, 2, 2, 5, towards=-1),
            _two_sets(g, 1, 1, 4),
        ],
        verified="The mean cosine of each picture with its own prompt: CLIP-T, where the features "
        "are CLIP's and the prompt leaves the identifier out.",
        variants=(
            Variant(
                "NOT_NORMALISED",
                NOT_NORMALISED,
                (lambda images, texts: (images * texts).sum(dim=1).mean(),),
            ),
            Variant(
                "NORMALISED_OVER_BATCH",
                NORMALISED_OVER_BATCH,
                (
                    lambda images, texts: (
                        (F.normalize(images, dim=0) * F.normalize(texts, dim=0)).sum(dim=1).mean()
                    ),
                ),
            ),
            Variant(
                "ALL_PAIRS",
                "You compare every picture with every prompt. A picture of the beach owes nothing "
                "to the prompt about snow: only the pairs on the diagonal count.",
                (lambda images, texts: _table(images, texts).mean(),),
            ),
            Variant(
                "MEAN_THEN_COSINE",
                "You average the features and take one cosine, so a picture may fail its prompt "
                "as long as another makes up for it. Take each pair's cosine first, the mean "
                "last.",
                (
                    _cosine_of_means,
                    lambda images, texts: _cosine_of_means(_rows(images), _rows(texts)),
                ),
            ),
            Variant(
                "ONE_LONG_VECTOR",
                "You divide by the length of all features together, so long features count more. "
                "Every row needs its own length: `dim=1`.",
                (
                    lambda images, texts: F.cosine_similarity(
                        images.flatten(), texts.flatten(), dim=0
                    ),
                ),
            ),
            Variant(
                "SUM_NOT_MEAN",
                "You add up the cosines, so the score grows with the number of pictures. Take "
                "their mean.",
                (
                    lambda images, texts: F.cosine_similarity(images, texts, dim=1).sum(),
                    lambda images, texts: _table(images, texts).sum(),
                ),
            ),
            Variant(
                "MEAN_OVER_CHANNELS",
                "You take the mean over the D channels as well, so the score is D times too "
                "small. A cosine is the *sum* over channels; the mean is over pictures.",
                (lambda images, texts: (_rows(images) * _rows(texts)).mean(),),
            ),
            Variant(
                "CLIP_SCORE",
                "You return 2.5 times the cosine, cut off at 0: that is CLIPScore "
                "(arXiv:2104.08718), another measure. The paper's CLIP-T is the plain cosine.",
                (
                    lambda images, texts: (
                        2.5 * F.cosine_similarity(images, texts, dim=1).clamp(min=0).mean()
                    ),
                ),
            ),
            Variant(
                "TIMES_100",
                TIMES_100,
                (lambda images, texts: 100 * F.cosine_similarity(images, texts, dim=1).mean(),),
            ),
        ),
        invariants=(
            each_has_its_own_prompt,
            length_says_nothing_of(lambda g: _two_sets(g, 4, 4, 5)),
        ),
        hints=(
            "Picture i was drawn from prompt i, and from no other.",
            "Give every row length 1, multiply the two row by row, add up along each row: N "
            "cosines. Take their mean. (`torch.cosine_similarity` does the first three at once.)",
            "    images = torch.nn.functional.normalize(..., dim=1)  # texts likewise\n"
            "    return (images * texts).sum(dim=...).mean()",
        ),
    ),
    Exercise(
        id="metrics.diversity",
        title="How much do pictures differ?",
        returns="a scalar; features is (N, D), N from 2 up",
        minutes=10,
        difficulty=2,
        reference=metrics.diversity,
        solution=diversity,
        make_inputs=lambda g: [
            (_features(g, n, width),) for n, width in ((5, 6), (4, 4), (2, 5), (3, 12))
        ],
        verified="The mean of 1 - cosine over distinct pairs: 0 for copies, and the same however "
        "many pictures there are.",
        variants=(
            Variant(
                "SELF_PAIRS_INCLUDED",
                "Your mean takes in each picture with itself: N pairs whose distance is always 0. "
                "Few pictures then look less diverse than many. Leave the diagonal out.",
                (lambda features: 1 - _table(features, features).mean(),),
            ),
            Variant("NOT_NORMALISED", NOT_NORMALISED, (_plain_products,)),
            Variant(
                "NORMALISED_OVER_BATCH",
                NORMALISED_OVER_BATCH,
                (lambda features: _plain_products(F.normalize(features, dim=0)),),
            ),
            Variant(
                "SIMILARITY_NOT_DISTANCE",
                "You return the mean cosine: high where pictures are alike. Diversity is "
                "1 - cosine.",
                (lambda features: 1 - _upper(features).mean(),),
            ),
            Variant(
                "DISTANCE_FROM_MEAN",
                "You compare each picture with the average of all. That average is near to every "
                "one of them, so the value is far too low. Compare the pictures with each other.",
                (
                    lambda features: (
                        1 - F.cosine_similarity(features, features.mean(dim=0)[None], dim=1).mean()
                    ),
                    lambda features: (
                        1 - _table(features, _rows(features).mean(dim=0, keepdim=True)).mean()
                    ),
                ),
            ),
            Variant(
                "SINGLE_REFERENCE",
                "You compare the first picture with the others, but never the others with one "
                "another. Take every pair.",
                (lambda features: 1 - _table(features[:1], features[1:]).mean(),),
            ),
            Variant(
                "NEIGHBOURS_ONLY",
                "You compare each picture with the next one only, so the order of the pictures "
                "changes the value. Take every pair.",
                (_neighbours,),
            ),
            Variant(
                "SUM_NOT_MEAN",
                "You add up over the pairs, so more pictures look more diverse. Take the mean.",
                (
                    lambda features: _upper(features).sum(),
                    lambda features: 2 * _upper(features).sum(),
                ),
            ),
            Variant(
                "PAIRS_COUNTED_ONCE",
                "You add up each pair once, but divide by a number that counts it twice. There "
                "are N (N - 1) / 2 pairs above the diagonal, and N (N - 1) off it.",
                (
                    lambda features: _upper(features).mean() / 2,
                    lambda features: _upper(features).sum() / len(features) ** 2,
                ),
            ),
            Variant(
                "SQUARED_DISTANCE",
                "Twice too large: either you return the squared distance of the unit features, "
                "which is 2 - 2 cosine, or you add up the whole table and divide by half of its "
                "pairs. The definition is 1 - cosine, a mean over pairs.",
                (lambda features: 2 * _upper(features).mean(),),
            ),
        ),
        invariants=(
            copies_have_none,
            right_angles_have_one,
            length_says_nothing_of(lambda g: (_features(g, 4, 5),)),
        ),
        hints=(
            "Copies of one picture should get 0. In the table of all cosines, which entries say "
            "nothing about diversity?",
            "Make rows unit length; `features @ features.T` is the (N, N) table of cosines. Its "
            "diagonal is 1, each picture with itself. Take the mean of 1 - cosine over the rest, "
            "N (N - 1) entries.",
            "    cosine = features @ features.T  # of unit rows\n"
            "    distinct = ~torch.eye(n, dtype=torch.bool)\n"
            "    return (1 - cosine[...]).mean()",
        ),
    ),
    Exercise(
        id="metrics.find_the_bug",
        title="Find the bug: measures",
        returns="the number of the faulty line of snippet 1, 2, 3 or 4",
        minutes=12,
        difficulty=2,
        reference=find_the_bug,
        solution=find_the_bug,
        make_inputs=lambda g: [(1,), (2,), (3,), (4,)],
        verified="Found: a rare token shown to CLIP, which does not know it "
        "(CLIP_T_WITH_RARE_TOKEN); patches averaged where the class token belongs "
        "(PATCH_MEAN_NOT_CLS); one photo for all (SINGLE_REFERENCE); and the subject drawn where "
        "its class is asked for.",
        invariants=BUGS,
        snippets=SNIPPETS,
        hints=(
            "All four run, and give numbers that look like scores. Ask of each: who is shown "
            "what, and is it what the measure's name promises?",
            "Snippet 1: who reads the identifier? Snippet 2: count the tokens. Snippet 3: change "
            "the order of the photos in your mind. Snippet 4: read the comment, then the prompt.",
            "Snippet 1: draw with the identifier, measure without it.",
            "Snippet 2: the class token is `tokens[:, 0]`.",
            "Snippet 3: `real[:1]` keeps one.",
            "Snippet 4: PRES asks for the bare class.",
        ),
    ),
)
