"""Every exercise: right answers pass, known mistakes are named, others are not guessed at."""

import html
import inspect
import itertools

import pytest
import torch
from torch import Tensor

from tests.course.answers import RIGHT
from tests.course.matrix import as_answer
from tlab_diffusion.course import check, hint, reference, solution
from tlab_diffusion.course.answer_check import ATOL, RTOL, agrees, plain
from tlab_diffusion.course.exercises import ALL

each_exercise = pytest.mark.parametrize("exercise", ALL, ids=lambda exercise: exercise.id)
each_variant = pytest.mark.parametrize(
    ("exercise", "variant", "form"),
    [
        pytest.param(e, v, form, id=f"{e.id}-{v.name}-{number}")
        for e in ALL
        for v in e.variants
        for number, form in enumerate(v.forms)
    ],
)


def parts(value) -> tuple:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def outputs(exercise, function) -> list:
    """The results on the inputs of every check, up to the first that is an error."""
    observed, results = exercise.observed(function), []
    for arguments in exercise.make_inputs(exercise.generator()):
        try:
            results.append(observed(*arguments))
        except (RuntimeError, IndexError):  # shapes that do not fit, say
            break
    return results


def tolerances_apart(answers: list, others: list) -> float:
    """The largest difference between two answers, in units of the checker's tolerance."""
    largest = 0.0 if len(answers) == len(others) else float("inf")
    for one, other in zip(answers, others, strict=False):
        for a, b in zip(map(plain, parts(one)), map(plain, parts(other)), strict=True):
            if a.shape != b.shape:
                return float("inf")
            largest = max(largest, ((a - b).abs() / (ATOL + RTOL * b.abs())).max().item())
    return largest


@each_exercise
def test_right_answers_of_every_style_pass(exercise):
    styles = RIGHT.get(exercise.id, ())
    assert len(styles) >= 3, "add right answers in three styles to tests/course/answers.py"
    for answer in (*styles, exercise.solution, reference(exercise.id)):
        result = check(exercise.id, answer)
        assert result.outcome == "passed", f"{answer.__name__}: {result}"
        assert result.misconception is None
        assert result.message.startswith(exercise.verified)


@each_variant
def test_known_mistakes_are_named(exercise, variant, form):
    result = check(exercise.id, as_answer(exercise, form))
    assert (result.outcome, result.misconception) == ("failed", variant.name)
    assert result.message == variant.why


@each_variant
def test_known_mistakes_lie_far_from_the_right_answer(exercise, variant, form):
    wrong = outputs(exercise, form)
    assert wrong, "an error on the first inputs cannot be named"
    assert all(torch.isfinite(plain(part)).all() for value in wrong for part in parts(value))
    # The cap of the cosine schedule moves one number by 0.001: nine tolerances.
    assert tolerances_apart(wrong, outputs(exercise, exercise.reference)) > 9


@each_exercise
def test_known_mistakes_lie_far_from_each_other(exercise):
    wrong = [(v.name, outputs(exercise, form)) for v in exercise.variants for form in v.forms]
    for (name, one), (other_name, other) in itertools.combinations(wrong, 2):
        if name != other_name:
            assert tolerances_apart(one, other) > 100, f"{name} and {other_name} look alike"


@each_exercise
def test_names_of_mistakes_are_unique_and_reasons_are_sentences(exercise):
    names = [variant.name for variant in exercise.variants]
    assert len(set(names)) == len(names)
    for variant in exercise.variants:
        assert variant.name == variant.name.upper()
        assert len(variant.why) > 60
        assert variant.why[0].isupper() and variant.why[-1] in ".`)"


def shifted(exercise):
    """A wrong answer that nobody foresaw: the right one, a little off."""

    def answer(*arguments):
        value = exercise.solution(*arguments)
        if isinstance(value, int):
            return value + 7
        if isinstance(value, list) and isinstance(value[0], str):
            return [text.upper() + "!" for text in value]
        if isinstance(value, str):
            return value + "!"
        if isinstance(value, tuple) and isinstance(value[0], str):
            return ("?", *value[1:])
        off = tuple(1.013 * part + 0.017 for part in parts(value))
        return off if isinstance(value, tuple | list) else off[0]

    return as_answer(exercise, answer)


@each_exercise
def test_an_unforeseen_mistake_is_not_guessed_at(exercise):
    result = check(exercise.id, shifted(exercise))
    assert (result.outcome, result.misconception) == ("failed", None)
    assert len(result.message) > 20


@each_exercise
def test_invariants_and_remarks_hold_of_the_reference(exercise):
    for look in (*exercise.invariants, *exercise.remarks):
        assert look(exercise.reference, exercise.generator()) is None, look.__name__


@each_exercise
def test_every_invariant_catches_some_mistake(exercise):
    mistakes = [form for variant in exercise.variants for form in variant.forms]
    for look in exercise.invariants:
        said = []
        for mistake in (*mistakes, shifted(exercise)):
            try:
                said.append(look(as_answer(exercise, mistake), exercise.generator()))
            except (RuntimeError, ValueError, TypeError, IndexError):
                continue  # a mistake of another shape
        assert any(said), f"{look.__name__} never fails"


@each_exercise
def test_a_stub_is_not_attempted(exercise):
    parameters = ", ".join(exercise.parameters)
    cell = f"def stub({parameters}):\n    raise NotImplementedError('your turn')"
    namespace = {}
    exec(cell, namespace)
    result = check(exercise.id, namespace["stub"])
    assert (result.outcome, result.misconception) == ("not_attempted", None)
    assert "Nothing is wrong" in result.message


@each_exercise
def test_an_error_shows_the_learners_own_traceback(exercise):
    def answer(*arguments):
        nothing = {}
        return nothing["my key"]

    result = check(exercise.id, as_answer(exercise, answer))
    assert result.outcome == "raised"
    assert 'return nothing["my key"]' in result.message
    assert result.message.rstrip().endswith("KeyError: 'my key'")
    for ours in ("grading.py", "runner.py", "threading.py", "site-packages"):
        assert ours not in result.message


def takes_tensors(exercise) -> bool:
    first = exercise.make_inputs(exercise.generator())[0]
    return any(tensors_in(argument) for argument in first)


def tensors_in(argument) -> list[Tensor]:
    """The tensors of an argument: itself, or those that a list holds."""
    values = argument if isinstance(argument, list) else [argument]
    return [value for value in values if isinstance(value, Tensor)]


@pytest.mark.parametrize("exercise", list(filter(takes_tensors, ALL)), ids=lambda e: e.id)
def test_an_answer_that_writes_into_its_inputs_is_told_so(exercise):
    def answer(*arguments):
        value = exercise.solution(*arguments)
        next(tensor for a in arguments for tensor in tensors_in(a)).zero_()
        return value

    result = check(exercise.id, as_answer(exercise, answer))
    assert (result.outcome, result.misconception) == ("failed", "INPUT_MUTATED")


@each_exercise
def test_the_checker_draws_the_same_inputs_at_every_check(exercise):
    first, second = (exercise.make_inputs(exercise.generator()) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            if isinstance(a, torch.Generator):
                a, b = a.get_state(), b.get_state()
            if tensors_in(a):
                assert all(map(torch.equal, tensors_in(a), tensors_in(b)))
            else:
                assert callable(a) or a == b


@each_exercise
def test_the_solution_shown_passes_its_own_check(exercise):
    names = {}
    exec(solution(exercise.id), names)
    assert check(exercise.id, names[exercise.name]).outcome == "passed"
    assert all(len(line) <= 100 for line in solution(exercise.id).splitlines())


@each_exercise
def test_the_reference_takes_the_arguments_of_the_solution(exercise):
    takes = inspect.signature(exercise.reference).parameters
    count = len(exercise.parameters)
    assert tuple(takes)[:count] == exercise.parameters
    # The library's function may have options that the exercise leaves out.
    assert all(takes[name].kind is takes[name].KEYWORD_ONLY for name in tuple(takes)[count:])
    assert exercise.signature.startswith(exercise.name + "(")


@each_exercise
def test_hints_come_in_three_tiers_and_lead_on(exercise):
    tiers = 2 + len(exercise.snippets) if exercise.snippets else 3
    assert len(exercise.hints) == tiers
    for tier in range(1, tiers + 1):
        text = str(hint(exercise.id, tier))
        assert exercise.hints[tier - 1] in text
        following = f'hint("{exercise.id}", {tier + 1})' if tier < tiers else "solution("
        assert following in text
    for number, text in enumerate(exercise.hints[2:], start=1):
        assert not exercise.snippets or text.startswith(f"Snippet {number}: ")
    assert exercise.hints[2] not in str(hint(exercise.id))


@each_exercise
def test_the_last_hint_shows_the_expected_figure(exercise):
    page = hint(exercise.id, 3)._repr_mimebundle_()["text/html"]
    assert ("data:image/png;base64," in page) == (exercise.expected_figure is not None)
    if exercise.expected_figure:
        assert f'alt="{html.escape(exercise.expected_figure().title)}"' in page
    assert "data:image" not in hint(exercise.id, 1)._repr_mimebundle_()["text/html"]


@each_exercise
def test_facts_about_the_exercise_are_sane(exercise):
    assert 1 <= exercise.difficulty <= 3
    assert 1 <= exercise.minutes <= 60
    assert exercise.title and exercise.returns and exercise.verified.endswith((".", "!"))
    assert "all tests" not in exercise.verified.lower()


@pytest.mark.parametrize(
    "id",
    [
        "noising.find_the_bug",
        "loss.find_the_bug",
        "sampling.find_the_bug",
        "guidance.find_the_bug",
        "training.find_the_bug",
        "dreambooth.find_the_bug",
        "metrics.find_the_bug",
        "grid.find_the_bug",
    ],
)
def test_the_faulty_line_of_each_snippet_can_be_pointed_at(id):
    exercise = next(e for e in ALL if e.id == id)
    assert len(exercise.snippets) == len(exercise.make_inputs(exercise.generator()))
    for number, code in enumerate(exercise.snippets, start=1):
        lines = code.strip("\n").splitlines()
        compile(code, "snippet", "exec")
        assert 1 < exercise.reference(number) <= len(lines)
        numbers = range(1, len(exercise.snippets) + 1)
        wrong = {n: 1 if n == number else exercise.reference(n) for n in numbers}
        message = check(id, lambda snippet, wrong=wrong: wrong[snippet]).message
        assert message.startswith(f"Snippet {number}: not that line.")


def test_two_mistakes_at_once_are_not_named():
    def answer(x0, t, noise, alphas_cumprod):
        bar = alphas_cumprod[t - 1].reshape(-1, 1, 1, 1)
        return bar * x0 + (1 - bar) * noise

    assert check("noising.q_sample", answer).misconception is None


def test_agreement_is_close_but_not_loose():
    right = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert agrees(right.float() * (1 + 1e-6), right)
    assert not agrees(right * (1 + 1e-3), right)


def _denoise(model, x_T, text, no_text, timesteps, alphas_cumprod, guidance_scale, stride=None):
    """DDIM, by a stride of its own instead of the list's, or without reshaping."""
    timesteps, x = list(timesteps), x_T
    for i, now in enumerate(timesteps):
        then = timesteps[i + 1] if i + 1 < len(timesteps) else -1
        then = now - stride if stride else then
        bars = [alphas_cumprod[k] if k >= 0 else torch.ones(()).double() for k in (now, then)]
        if stride is None:
            bars = [bar.expand(len(x)) for bar in bars]
        t = torch.full((len(x),), now)
        uncond, cond = model(x, t, no_text), model(x, t, text)
        eps = uncond + guidance_scale * (cond - uncond)
        x0 = (x - (1 - bars[0]).sqrt() * eps) / bars[0].sqrt()
        x = bars[1].sqrt() * x0 + (1 - bars[1]).sqrt() * eps
    return x


def _sorted_first(candidates, tokenize, known_words):
    candidates.sort()
    return next(w for w in candidates if len(tokenize(w)) == 1 and w not in known_words)


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("latent.denoise", lambda *a: _denoise(*a, stride=3)),
        ("latent.denoise", lambda *a: _denoise(*a)),
        ("hands_on.choose_identifier", _sorted_first),
        (
            "hands_on.choose_identifier",
            lambda candidates, tokenize, known_words: next(
                w for w in candidates if len(w) == 3 and w not in known_words
            ),
        ),
        ("dreambooth.prompts", lambda name, noun: (f"a [{name}] [{noun}]", f"a [{noun}]")),
        ("dreambooth.prompts", lambda name, noun: (f"a {name}-{noun}", f"a {noun}")),
        (
            "hands_on.harmonic_mean",
            lambda qualities: len(qualities) / (1 / qualities).sum(dim=1),
        ),
        (
            "guidance.cross_attention",
            lambda query, key, value: (
                (query @ key.transpose(1, 2) / value.shape[-1] ** 0.5).softmax(dim=-1) @ value
            ),
        ),
    ],
)
def test_what_is_right_by_chance_alone_does_not_pass(id, answer):
    exercise = next(each for each in ALL if each.id == id)
    assert check(id, as_answer(exercise, answer)).outcome != "passed"
