"""Lesson 07: DreamBooth's prompts and its loss."""

import re
from collections.abc import Callable

import torch
from torch import Tensor

from tlab_diffusion.course.exercise import Exercise, Variant
from tlab_diffusion.course.exercises._shared import faulty_line, randint, randn, uniform
from tlab_diffusion.dreambooth import presets
from tlab_diffusion.dreambooth.training import loss

# --- Solutions, as learners are shown them ------------------------------------------------


def prompts(identifier, class_noun):
    return f"a {identifier} {class_noun}", f"a {class_noun}"


def prior_preservation_loss(pred, target, prior_weight):
    pred, class_pred = pred.chunk(2)  # the subject's half, then the class's
    target, class_target = target.chunk(2)
    subject = ((pred - target) ** 2).mean()
    return subject + prior_weight * ((class_pred - class_target) ** 2).mean()


# --- Prompts ------------------------------------------------------------------------------

TWO_PROMPTS, ONE_STRING, STRANGE = range(3)
NAMES = [("zwx", "robot"), ("qev", "teddy bear"), ("ojq", "owl")]
NOUNS = ("teapot", "blue owl", "castle", "armchair", "house", "paper lantern", "umbrella")
# Not brackets, which may come from a template, nor hyphens, which make one word of two.
PUNCTUATION = re.compile(r"""[\s.,;:!?…"'“”„«»‘’()—–/*`~|]+""")


def _names(generator: torch.Generator) -> list[tuple[str, str]]:
    """The usual names, and one that nobody has seen."""
    letters = torch.randint(26, (2,), generator=generator).tolist()
    identifier = "xq" + "".join(chr(ord("a") + letter) for letter in letters)
    return [*NAMES, (identifier, NOUNS[randint(generator, 0, len(NOUNS) - 1)])]


def _says(prompt: str, phrase: str) -> bool:
    """Whether a prompt holds some words, side by side and in that order."""
    words = " ".join(PUNCTUATION.split(prompt.lower()))
    return f" {phrase} " in f" {words} "


def _observe_prompts(function: Callable) -> Callable:
    r"""What two prompts say, as numbers: wordings differ, and many are right.

    The result has seven: what comes back, whether the instance prompt holds the identifier, holds
    the class noun, holds both side by side, and holds the identifier within a longer word;
    whether the class prompt holds the identifier, be it within a longer word, and the class noun.
    """

    def seen(identifier: str, class_noun: str) -> Tensor:
        result = function(identifier, class_noun)
        kind = _kind(result)
        if kind != TWO_PROMPTS:
            return torch.tensor([kind, 0, 0, 0, 0, 0, 0], dtype=torch.float64)
        instance, class_prompt = result
        named = _says(instance, identifier)
        facts = [
            *(kind, named, _says(instance, class_noun)),
            _says(instance, f"{identifier} {class_noun}"),
            identifier in instance.lower() and not named,
            *(identifier in class_prompt.lower(), _says(class_prompt, class_noun)),
        ]
        return torch.tensor(facts, dtype=torch.float64)

    return seen


def _kind(result: object) -> int:
    if isinstance(result, str):
        return ONE_STRING
    two = isinstance(result, (tuple, list)) and len(result) == 2
    return TWO_PROMPTS if two and all(isinstance(text, str) for text in result) else STRANGE


def returns_two_prompts(answer: Callable, generator: torch.Generator) -> str | None:
    result = answer("zwx", "robot")
    if result is None:
        return "Your function returns nothing. Did you forget `return`?"
    if _kind(result) != TWO_PROMPTS:
        return "Return two strings: `return instance_prompt, class_prompt`."
    return None


def the_identifier_is_in_the_first_alone(
    answer: Callable, generator: torch.Generator
) -> str | None:
    for identifier, class_noun in _names(generator):
        instance, class_prompt = answer(identifier, class_noun)
        if not _says(instance, identifier):
            return f"Your instance prompt is {instance!r}: '{identifier}' is no word of it."
        if identifier in class_prompt.lower():
            return f"Your class prompt is {class_prompt!r}: '{identifier}' does not belong there."
    return None


def the_class_is_in_both(answer: Callable, generator: torch.Generator) -> str | None:
    for identifier, class_noun in _names(generator):
        for prompt in answer(identifier, class_noun):
            if not _says(prompt, class_noun):
                return f"Of {class_noun!r}, your prompt {prompt!r} says nothing."
    return None


def prompts_differ_in_the_identifier_alone(
    answer: Callable, generator: torch.Generator
) -> str | None:
    instance, class_prompt = (
        [word for word in re.findall(r"\w+", prompt.lower()) if word not in ("a", "an")]
        for prompt in answer("zwx", "robot")
    )
    if [word for word in instance if word != "zwx"] == class_prompt:
        return None
    return (
        "Your two prompts differ in more than the identifier. The class is best kept under the "
        "very words that the subject shares with it: same sentence, identifier left out."
    )


# --- The loss -----------------------------------------------------------------------------


def _halves(generator: torch.Generator, shape: tuple, prior_weight: float) -> tuple:
    """A batch whose halves are wrong by different amounts, the samples of each half too."""
    target = randn(generator, *shape)
    size = torch.linspace(0.3, 2.0, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    pred = target + size * randn(generator, *shape)
    return pred.requires_grad_(), target, prior_weight


def _mse(difference: Tensor) -> Tensor:
    return (difference**2).mean()


def _combined(
    combine: Callable = lambda subject, prior, weight: subject + weight * prior,
    halves: Callable = lambda batch: batch.chunk(2),
    target_halves: Callable | None = None,
    error: Callable = _mse,
) -> Callable:
    """The loss, right but for what is handed over."""

    def form(pred: Tensor, target: Tensor, prior_weight: float) -> Tensor:
        pairs = zip(halves(pred), (target_halves or halves)(target), strict=True)
        subject, prior = (error(p - t) for p, t in pairs)
        return combine(subject, prior, prior_weight)

    return form


def _every_other(batch: Tensor) -> tuple[Tensor, Tensor]:
    return batch[::2], batch[1::2]


def without_weight_only_the_subject_counts(
    answer: Callable, generator: torch.Generator
) -> str | None:
    pred, target, _ = _halves(generator, (6, 2, 3, 3), 0.0)
    pred = pred.detach()
    got, right = float(answer(pred, target, 0.0)), _mse(pred[:3] - target[:3]).item()
    if abs(got - right) > 1e-3:
        return (
            "With prior_weight = 0 the loss is the subject's own mean squared error, of the first "
            f"half of the batch: here {right:.3f}; yours is {got:.3f}."
        )
    return None


def the_class_counts_as_often_as_the_weight_says(
    answer: Callable, generator: torch.Generator
) -> str | None:
    pred, target, _ = _halves(generator, (6, 2, 3, 3), 0.0)
    pred = pred.detach()
    got = float(answer(pred, target, 3.0)) - float(answer(pred, target, 1.0))
    right = 2 * _mse(pred[3:] - target[3:]).item()
    if abs(got - right) > 1e-3:
        return (
            "From prior_weight 1 to 3, the loss should grow by twice the class's mean squared "
            f"error, of the second half: here by {right:.3f}; yours grows by {got:.3f}."
        )
    return None


def a_perfect_prediction_costs_nothing(answer: Callable, generator: torch.Generator) -> str | None:
    _, target, weight = _halves(generator, (6, 2, 3, 3), 0.7)
    got = float(answer(target.clone(), target, weight))
    if abs(got) > 1e-3:
        return f"Where pred is target, the loss should be 0; yours is {got:.3f}."
    return None


# --- Find the bug -------------------------------------------------------------------------

SNIPPETS = (
    """
def train(model, optimizer, pictures, instance_prompt, class_prompt, steps):
    for step in range(steps):
        x0 = draw_batch(pictures)
        class_x0 = sample(model, class_prompt, num=len(x0))
        loss = dreambooth_loss(model, x0, class_x0, instance_prompt, class_prompt)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
""",
    """
def train_step(model, encode, optimizer, x0, class_x0, instance_prompt, class_prompt):
    # subject first, then class
    both = torch.cat([x0, class_x0])
    prompts = [instance_prompt] * len(both)
    pred, target = predict(model, both, encode(prompts))
    loss = prior_preservation_loss(pred, target, prior_weight=1.0)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
    """
def find_the_subject(tuned, shows_subject, identifier, class_noun, places):
    found = []
    for place in places:
        prompt = f"a {class_noun} {place}"
        picture = sample(tuned, prompt)
        found.append(shows_subject(picture))
    return sum(found) / len(found)
""",
    """
def train_step(unet, text_encoder, optimizer, x_t, t, noise, ids):
    # both learn: optimizer has the parameters of the U-Net and of the text encoder
    with torch.no_grad():
        words = text_encoder(ids)
    loss = torch.nn.functional.mse_loss(unet(x_t, t, words), noise)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
)


def find_the_bug(snippet):
    return {1: 4, 2: 4, 3: 4, 4: 3}[snippet]


BUGS = (
    faulty_line(
        1,
        4,
        "Snippet 1: not that line. The class still drifts towards the subject, if slowly. What "
        "is the model held to, and who says what that is?",
    ),
    faulty_line(
        2,
        4,
        "Snippet 2: not that line. The subject's name comes to mean the whole class. Which "
        "pictures are trained under which words?",
    ),
    faulty_line(
        3,
        4,
        "Snippet 3: not that line. A model that has learned the subject perfectly, and kept its "
        "class as well, scores 0. What is it asked for?",
    ),
    faulty_line(
        4,
        3,
        "Snippet 4: not that line. The text encoder's weights never change, to the last digit. "
        "How would the loss tell it anything?",
    ),
)


EXERCISES = (
    Exercise(
        id="dreambooth.prompts",
        title="Two prompts",
        returns="the instance prompt and the class prompt, two strings",
        minutes=5,
        difficulty=1,
        reference=presets.prompts,
        solution=prompts,
        make_inputs=_names,
        observe=_observe_prompts,
        verified="The instance prompt names the subject and its class, the class prompt the class "
        "alone.",
        variants=(
            Variant(
                "TOKEN_IN_CLASS_PROMPT",
                "Your class prompt has the identifier in it. It describes pictures of *any* "
                "member of the class: with the identifier, the model would be taught that the "
                "name means them all. Leave it out of the second prompt.",
                (
                    lambda i, c: (f"a {i} {c}", f"a {i} {c}"),
                    lambda i, c: (f"a {i} {c}", f"a {c} like {i}"),
                ),
            ),
            Variant(
                "CLASS_NOUN_MISSING",
                "Your instance prompt lacks the class noun. It is what ties the new name to all "
                "that the model knows of the class; without it the paper's DINO score falls "
                "from .744 to .303. Put it behind the identifier.",
                (
                    lambda i, c: (f"a photo of {i}", f"a photo of a {c}"),
                    lambda i, c: (i, c),
                ),
            ),
            Variant(
                "TOKEN_MISSING",
                "Your instance prompt lacks the identifier. There is no word that the subject "
                "could be bound to: the class itself would learn to look like it. Put the "
                "identifier before the class noun.",
                (lambda i, c: (f"a {c}", f"a {c}"),),
            ),
            Variant(
                "PROMPTS_SWAPPED",
                "You return the two prompts in the other order: the class prompt comes first. "
                "The instance prompt should.",
                (lambda i, c: (f"a {c}", f"a {i} {c}"),),
            ),
            Variant(
                "NOUN_NOT_BEHIND_TOKEN",
                "Both words are in the instance prompt, but not side by side in this order: "
                'identifier, then class noun. "a zwx robot" reads like "a red robot", and that '
                "is how the model is to take it.",
                (
                    lambda i, c: (f"a {c} {i}", f"a {c}"),
                    lambda i, c: (f"{i}, which is a {c}", f"a {c}"),
                ),
            ),
            Variant(
                "NO_CLASS_IN_CLASS_PROMPT",
                "Your class prompt does not name the class. The original model is asked for "
                "pictures of it with these words: put the class noun in.",
                (lambda i, c: (f"a {i} {c}", "a photo"), lambda i, c: (f"a {i} {c}", "")),
            ),
            Variant(
                "RUN_TOGETHER",
                "In your instance prompt, identifier and class noun run together into one word, "
                "which falls into pieces that mean nothing. Put a space between them.",
                (lambda i, c: (f"a {i}{c}", f"a {c}"),),
            ),
            Variant(
                "NAMES_WRITTEN_OUT",
                "Neither prompt uses the two arguments. Put an f in front of the string, "
                '`f"a {identifier} {class_noun}"`, and no name of your own into it.',
                (
                    lambda i, c: ("a {identifier} {class_noun}", "a {class_noun}"),
                    lambda i, c: ("a [V] [class noun]", "a [class noun]"),
                ),
            ),
            Variant(
                "ONE_PROMPT",
                "You return one string. Two are needed: one for the subject's pictures and one "
                "for those of its class. `return instance_prompt, class_prompt`.",
                (lambda i, c: f"a {i} {c}",),
            ),
        ),
        invariants=(
            returns_two_prompts,
            the_identifier_is_in_the_first_alone,
            the_class_is_in_both,
        ),
        remarks=(prompts_differ_in_the_identifier_alone,),
        hints=(
            "The paper's prompts are as plain as can be: a [V] [class noun], and a [class noun].",
            'An f-string puts an argument into a sentence: with `class_noun = "robot"`, '
            '`f"a {class_noun}"` is "a robot". The first prompt has the identifier just before '
            "the class noun, the second has none.",
            '    return f"a {...} {...}", f"a {...}"',
        ),
    ),
    Exercise(
        id="dreambooth.prior_preservation_loss",
        title="The prior-preservation loss",
        returns="a scalar; pred and target are (2B, ...), the subject's half first",
        minutes=12,
        difficulty=2,
        reference=loss.prior_preservation_loss,
        solution=prior_preservation_loss,
        make_inputs=lambda g: [
            _halves(g, (6, 2, 3, 3), 0.6),
            _halves(g, (4, 4, 4, 4), 2.5),
            _halves(g, (2, 3, 3, 3), 1.7),
            _halves(g, (4, 3, 2, 5), uniform(g, 0.1, 3.0)),
            _halves(g, (6, 5), 0.4),
            _halves(g, (8, 2, 3), 1.0),
        ],
        verified="The subject's mean squared error, plus lambda times the class's.",
        variants=(
            Variant(
                "ONE_MEAN_OVER_BOTH",
                "You take one mean over the whole batch: subject and class weigh the same, and "
                "prior_weight does nothing. Split the batch first (`chunk(2)`).",
                (lambda pred, target, prior_weight: _mse(pred - target),),
            ),
            Variant(
                "HALF_THE_LOSS",
                "Both terms are there and lambda is in its place, but the sum is divided by 2, "
                "as one mean over both halves does. Take the mean of each half, and add them.",
                (_combined(lambda subject, prior, weight: (subject + weight * prior) / 2),),
            ),
            Variant(
                "LAMBDA_ON_INSTANCE",
                "Your prior_weight multiplies the subject's term. It belongs to the class: the "
                "second half of the batch. (Or your halves have changed names: `chunk` gives the "
                "first half first.)",
                (_combined(lambda subject, prior, weight: weight * subject + prior),),
            ),
            Variant(
                "HALVES_SWAPPED",
                "You compare the subject's predictions with the class's targets, and the other "
                "way round: one of the two tensors is split in the wrong order. In both, the "
                "subject's half comes first.",
                (
                    _combined(target_halves=lambda batch: batch.chunk(2)[::-1]),
                    _combined(
                        halves=lambda batch: batch.chunk(2)[::-1],
                        target_halves=lambda batch: batch.chunk(2),
                    ),
                ),
            ),
            Variant(
                "INTERLEAVED_BATCH",
                "You split the batch as if subject and class alternated. The whole first half is "
                "the subject's, the whole second half the class's: `chunk(2)`.",
                (_combined(halves=_every_other),),
            ),
            Variant(
                "LAMBDA_LEFT_OUT",
                "You add the two terms as they are: prior_weight does nothing. It multiplies the "
                "class's term.",
                (_combined(lambda subject, prior, weight: subject + prior),),
            ),
            Variant(
                "NO_PRIOR_TERM",
                "Your loss is the subject's alone. The class's term is what keeps the model from "
                "forgetting all other members of the class: add prior_weight times its mean "
                "squared error.",
                (_combined(lambda subject, prior, weight: subject),),
            ),
            Variant(
                "LAMBDA_SQUARED",
                "Your prior_weight goes in squared: it multiplies the difference before that is "
                "squared. Multiply the mean squared error.",
                (_combined(lambda subject, prior, weight: subject + weight**2 * prior),),
            ),
            Variant(
                "SHARES_OF_ONE",
                "You divide the weight among both terms, so that a stronger prior weakens the "
                "subject. In the paper the subject's term keeps its weight of 1, and lambda "
                "multiplies the class's on top.",
                (
                    _combined(lambda subject, prior, w: (subject + w * prior) / (1 + w)),
                    _combined(lambda subject, prior, w: (1 - w) * subject + w * prior),
                ),
            ),
            Variant(
                "SUM_NOT_MEAN",
                "You add up the squared differences, so the loss grows with the batch and the "
                "size of the pictures. Take the mean over each half.",
                (_combined(error=lambda difference: (difference**2).sum()),),
            ),
            Variant(
                "NOT_SQUARED",
                "The differences are not squared, or a root is taken of them again. Both terms "
                "are *mean squared* errors.",
                (
                    _combined(error=lambda difference: difference.abs().mean()),
                    _combined(error=lambda difference: _mse(difference).sqrt()),
                ),
            ),
        ),
        invariants=(
            a_perfect_prediction_costs_nothing,
            without_weight_only_the_subject_counts,
            the_class_counts_as_often_as_the_weight_says,
        ),
        hints=(
            "Two losses you know, each over its own half of the batch: the subject under its "
            "prompt, the class under its own. One number says how much the second weighs.",
            "`pred.chunk(2)` gives the subject's half and the class's; `target` likewise. The "
            "loss is mse(subject) + prior_weight * mse(class).",
            "    pred, class_pred = pred.chunk(2)  # target likewise\n"
            "    subject = ((pred - target) ** 2).mean()\n"
            "    return subject + ... * ((class_pred - ...) ** 2).mean()",
        ),
    ),
    Exercise(
        id="dreambooth.find_the_bug",
        title="Find the bug: DreamBooth",
        returns="the number of the faulty line of snippet 1, 2, 3 or 4",
        minutes=12,
        difficulty=2,
        reference=find_the_bug,
        solution=find_the_bug,
        make_inputs=lambda g: [(1,), (2,), (3,), (4,)],
        verified="Found: class pictures from the model that is being tuned "
        "(PRIOR_FROM_TUNED_MODEL); class pictures under the subject's prompt "
        "(PRIOR_USES_INSTANCE_PROMPT); a subject asked for without its name "
        "(EVAL_WITHOUT_TOKEN); and a text encoder that no gradient reaches.",
        invariants=BUGS,
        snippets=SNIPPETS,
        hints=(
            "All four run without an error. Ask of each: which model draws, under which words, "
            "and who learns from it?",
            "Snippet 1: when should the class pictures be drawn? Snippet 2: count the prompts of "
            "each kind. Snippet 3: which word means the subject? Snippet 4: which line stops "
            "gradients?",
            "Snippet 1: a model held to its own present state is free to drift; draw the class "
            "before training.",
            "Snippet 2: the second half needs `class_prompt`.",
            "Snippet 3: the identifier is missing.",
            "Snippet 4: under `no_grad` the text encoder cannot learn.",
        ),
    ),
)
