"""`check` on anything a learner may hand over: it answers kindly, and never falls over."""

import dataclasses
import functools
import numbers
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.course.answers import loss_with_mse
from tlab_diffusion.course import Result, answer_check, check, grading, runner, solution
from tlab_diffusion.course.exercises import find
from tlab_diffusion.course.exercises.noising import q_sample, snr
from tlab_diffusion.diffusion import process
from tlab_diffusion.errors import InputError

OUTCOMES = {"passed", "failed", "raised", "not_attempted"}


def stub(alphas_cumprod=None):
    raise NotImplementedError


@pytest.fixture
def short_limit(monkeypatch):
    monkeypatch.setattr(runner, "LIMIT_S", 0.3)
    monkeypatch.setattr(runner, "PATIENCE_S", 0.3)


# --- What is handed over -------------------------------------------------------------------


@pytest.mark.parametrize(
    "thing", [None, 3, "snr", torch.ones(3), [snr], {}, torch], ids=lambda t: type(t).__name__
)
def test_what_is_no_function_is_refused_kindly(thing):
    result = check("noising.snr", thing)
    assert result.outcome == "failed"
    assert 'check("noising.snr", snr)' in result.message


@pytest.mark.parametrize(
    "function",
    [lambda x0, t: x0, lambda: 1, lambda x0, t, noise, alphas_cumprod, extra: x0],
    ids=["two", "none", "five"],
)
def test_a_wrong_number_of_arguments_names_the_signature(function):
    result = check("noising.q_sample", function)
    assert result.outcome == "failed"
    assert "Expected `q_sample(x0, t, noise, alphas_cumprod)`; yours takes (" in result.message


def test_arguments_in_another_order_are_noticed():
    result = check("noising.q_sample", lambda x0, noise, t, alphas_cumprod: x0)
    assert "another order: (x0, noise, t, alphas_cumprod)" in result.message


@pytest.mark.parametrize(
    "function",
    [
        lambda *arguments: snr(*arguments),
        lambda alpha_bar, unused=None: snr(alpha_bar),
        functools.partial(lambda power, a: (a / (1 - a)) ** power, 1),
        type("Snr", (), {"__call__": lambda self, a: snr(a)})(),
        type("Snr", (), {"method": lambda self, a: snr(a)})().method,
        functools.wraps(snr)(lambda *arguments: snr(*arguments)),
    ],
    ids=["star", "other_names", "partial", "object", "method", "decorated"],
)
def test_a_right_answer_may_be_any_kind_of_callable(function):
    assert check("noising.snr", function).outcome == "passed"


@pytest.mark.parametrize("function", [print, len, max, dict, torch.nn.Linear, object])
def test_other_peoples_functions_do_no_harm(function, capsys):
    assert check("noising.snr", function).outcome in {"failed", "raised"}


def test_an_unknown_id_names_the_closest():
    with pytest.raises(InputError, match="noising.q_sample"):
        check("noising.qsample", snr)
    with pytest.raises(InputError, match="got function"):
        check(snr, "noising.snr")


# --- What it returns -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "value", "said"),
    [
        ("noising.q_sample", None, "Did you forget `return`?"),
        ("noising.q_sample", torch.zeros(4, 1, 4, 4), "is (4, 1, 4, 4); expected (4, 4, 4, 4)"),
        ("noising.q_sample", 1.5, "a float; expected a torch tensor"),
        ("noising.q_sample", np.zeros((4, 4, 4, 4)), "a numpy array; expected a torch tensor"),
        ("noising.q_sample", torch.zeros(4, 4, 4, 4).long(), "torch.int64"),
        ("noising.q_sample", torch.zeros(4, 4, 4, 4).to(torch.complex64), "torch.complex64"),
        ("noising.q_sample", torch.full((4, 4, 4, 4), torch.nan), "nan"),
        ("noising.q_sample", torch.full((4, 4, 4, 4), torch.inf), "infinite"),
        ("noising.q_sample", torch.zeros(4, 4, 4, 4).to_sparse(), "unusual"),
        ("noising.q_sample", torch.zeros(4, 4, 4, 4, device="meta"), "unusual"),
        ("noising.q_sample", (torch.zeros(4), torch.zeros(4)), "a tuple"),
        ("noising.q_sample", (x for x in "ab"), "a generator"),
        ("loss.posterior", torch.zeros(4, 4, 4, 4), "one tensor; expected 2 things"),
        ("loss.posterior", (torch.zeros(4, 4, 4, 4),), "1 things; expected 2"),
        ("loss.posterior", (torch.zeros(4, 4, 4, 4), None), "result number 2. It is None"),
        ("loss.posterior", (torch.zeros(4, 4, 4, 4), torch.zeros(4, 1)), "result number 2. The"),
        ("loss.noise_loss", "0.5", "a str; expected a tensor holding one number"),
        ("loss.noise_loss", 10**400, "infinite"),
        ("loss.noise_loss", 0.25, "loss 0"),
        ("loss.noise_loss", torch.zeros(1), "is (1,); expected ()"),
        ("loss.find_the_bug", 2.0, "a float; expected a whole number"),
        ("loss.find_the_bug", "line 3", "a str; expected a whole number"),
        ("loss.find_the_bug", 10**400, "Snippet 1"),
    ],
)
def test_a_wrong_form_is_described(id, value, said):
    result = check(id, lambda *arguments: value)
    assert (result.outcome, result.misconception) == ("failed", None)
    assert said in result.message


tensors = st.builds(
    lambda shape, dtype: torch.ones(shape).to(dtype),
    st.lists(st.integers(0, 4), max_size=5),
    st.sampled_from([torch.float16, torch.float32, torch.float64, torch.bool, torch.uint8]),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | tensors,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    id=st.sampled_from(["noising.snr", "loss.posterior", "loss.noise_loss", "loss.find_the_bug"]),
    value=anything,
)
def test_nothing_that_is_returned_breaks_the_checker(id, value):
    result = check(id, lambda *arguments: value)
    assert result.outcome == "failed"
    assert result.message


def test_an_answer_that_draws_its_own_noise_is_told_so():
    def answer(x0, t, noise, alphas_cumprod):
        return q_sample(x0, t, torch.randn_like(x0), alphas_cumprod)

    assert "two answers" in check("noising.q_sample", answer).message


def test_a_wrong_number_is_located():
    def answer(betas):
        alpha_bar = torch.cumprod(1 - betas, 0)
        if len(betas) > 3:
            alpha_bar[3] += 0.25
        return alpha_bar

    message = check("noising.alphas_cumprod", answer).message
    assert "up to 0.25. They are wrong at index 3 of the first axis only." in message


def test_what_two_known_mistakes_explain_is_not_named(monkeypatch):
    """MISSING_SQRT under a second name: nothing is guessed, an invariant speaks."""
    exercise = find("noising.q_sample")
    twin = dataclasses.replace(exercise.variants[0], name="TWIN")
    twins = dataclasses.replace(exercise, variants=(*exercise.variants, twin))
    monkeypatch.setattr(grading, "find", lambda id: twins)
    result = check("noising.q_sample", twin.forms[0])
    assert (result.outcome, result.misconception) == ("failed", None)
    assert result.message.startswith("Six single steps shrink a picture to")


# --- Answers that cannot be read -------------------------------------------------------------


def raises(*arguments):
    raise KeyError("no")


def never_ends(*arguments):
    while True:
        pass


METHODS = (
    "__float__",
    "__iter__",
    "__str__",
    "__repr__",
    "__eq__",
    "__len__",
    "__int__",
    "__bool__",
)


@pytest.mark.parametrize("behave", [raises, never_ends])
@pytest.mark.parametrize("base", [object, float, int, list, tuple, str, dict])
@pytest.mark.parametrize("id", ["noising.snr", "loss.posterior", "loss.find_the_bug"])
def test_an_object_whose_methods_fail_is_not_looked_at(id, base, behave):
    kind = type("Nasty", (base,), {**dict.fromkeys(METHODS, behave), "__hash__": object.__hash__})
    result = check(id, lambda *arguments: kind())
    assert result.outcome == "failed"
    assert result.message


def test_an_object_is_something_that_cannot_be_read():
    kind = type("Mine", (), dict.fromkeys(METHODS, raises))
    message = check("noising.snr", lambda a: kind()).message
    assert "an object that cannot be read as an answer (its type is Mine)" in message


@pytest.mark.parametrize("method", [raises, never_ends])
def test_a_number_that_raises_or_never_comes_cannot_be_read(method, short_limit):
    kind = type("Mine", (), {"__float__": method})
    numbers.Real.register(kind)
    result = check("loss.noise_loss", lambda *arguments: kind())
    assert result.outcome == "failed"
    words = "returned something that cannot be read" if method is raises else "had not ended"
    assert words in result.message


@pytest.mark.parametrize("method", [raises, never_ends])
def test_an_error_whose_text_cannot_be_had_is_an_error_still(method, short_limit):
    kind = type("Mine", (Exception,), {"__str__": method})

    def answer(alphas_cumprod):
        raise kind

    result = check("noising.snr", answer)
    assert result.outcome == "raised"
    assert "Mine" in result.message


def test_a_list_that_holds_itself_cannot_be_read():
    endless = []
    endless.append(endless)
    assert "cannot be read" in check("noising.snr", lambda a: endless).message


@pytest.mark.parametrize("kind", [int, np.int64, np.array, torch.tensor])
def test_a_whole_number_may_be_of_any_library(kind):
    answer = solution_of("noising.find_the_bug")
    assert check("noising.find_the_bug", lambda snippet: kind(answer(snippet)))


# --- Mistakes that the checker knows in every exercise ----------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("back", [False, True])
def test_half_precision_is_named(dtype, back):
    def answer(alphas_cumprod):
        value = snr(alphas_cumprod).to(dtype)
        return value.float() if back else value

    result = check("noising.snr", answer)
    assert (result.outcome, result.misconception) == ("failed", "HALF_PRECISION")
    assert "Compute in float32" in result.message


NOTEBOOK = """
import torch
alphas_cumprod, x, bar = torch.linspace(0.9, 0.1, 12), 3, torch.linspace(0.9, 0.1, 12)
def renamed(x0, t, noise, schedule):
    bar_t = alphas_cumprod[t].reshape(-1, *[1] * (x0.ndim - 1))
    return bar_t.sqrt() * x0 + (1 - bar_t).sqrt() * noise
def other_name(x0, t, noise, alphas_cumprod):
    pick = lambda: bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    return pick().sqrt() * x0 + (1 - pick()).sqrt() * noise
def of_another_shape(x0, t, noise, schedule):
    return x0 * alphas_cumprod[t] + torch.ones(99) * noise
def one_constant(x0, t, noise, alphas_cumprod):
    return x * alphas_cumprod[t].reshape(-1, *[1] * (x0.ndim - 1)) * x0 * noise
"""


@pytest.mark.parametrize(
    ("name", "variable", "argument"),
    [
        ("renamed", "alphas_cumprod", "schedule"),
        ("other_name", "bar", "alphas_cumprod"),
        ("of_another_shape", "alphas_cumprod", "schedule"),
    ],
)
def test_a_variable_of_the_notebook_in_place_of_an_argument_is_named(name, variable, argument):
    names = {}
    exec(NOTEBOOK, names)
    result = check("noising.q_sample", names[name])
    assert result.misconception == "NOTEBOOK_VARIABLE"
    assert f"reads `{variable}`, a variable of the notebook" in result.message
    assert f"never its argument `{argument}`" in result.message


def test_a_constant_of_the_notebook_is_no_mistake():
    names = {}
    exec(NOTEBOOK, names)
    assert check("noising.q_sample", names["one_constant"]).misconception != "NOTEBOOK_VARIABLE"


def test_the_raise_of_the_stub_below_the_code_is_named():
    def snr(alphas_cumprod):
        """What to write."""
        alphas_cumprod = alphas_cumprod / (1 - alphas_cumprod)
        raise NotImplementedError("your turn")

    def above(alphas_cumprod):
        raise NotImplementedError("your turn")
        return alphas_cumprod / (1 - alphas_cumprod)

    for answer in (snr, above):
        result = check("noising.snr", answer)
        assert (result.outcome, result.misconception) == ("raised", "RAISE_LEFT_IN")
        assert "Delete that line" in result.message


def test_a_known_mistake_that_divides_by_zero_is_named(monkeypatch):
    def inverted(alphas_cumprod):
        return alphas_cumprod.sqrt().log() / (alphas_cumprod - alphas_cumprod)

    exercise = find("noising.snr")
    variant = dataclasses.replace(exercise.variants[0], name="NAN", forms=(inverted,))
    monkeypatch.setattr(
        grading, "find", lambda id: dataclasses.replace(exercise, variants=(variant,))
    )
    assert check("noising.snr", inverted).misconception == "NAN"
    nan = check("noising.snr", lambda alphas_cumprod: inverted(alphas_cumprod) * torch.nan)
    assert nan.misconception is None and "nan or infinite" in nan.message


def test_arguments_by_name_only_are_told_apart_from_a_wrong_signature():
    message = check("noising.snr", lambda *, alphas_cumprod: alphas_cumprod).message
    assert "leave out the `*`" in message
    assert message.count("alphas_cumprod") == 1


def test_an_answer_in_the_lessons_dtype_is_right():
    assert check("noising.alphas_cumprod", lambda betas: torch.cumprod(1 - betas.float(), 0))
    assert check("noising.alphas_cumprod", lambda betas: torch.cumprod(1 - betas.double(), 0))


def test_what_it_remembers_from_call_to_call_is_no_answer():
    seen = {}

    def answer(alphas_cumprod):
        return seen.setdefault(alphas_cumprod.shape, snr(alphas_cumprod))

    assert check("noising.snr", answer).outcome == "failed"


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (lambda right: 3 * right, "All your values are 3 times the right ones."),
        (lambda right: -right, "All your values are -1 times the right ones."),
        (lambda right: right + 0.5, "All your values lie 0.5 above the right ones."),
        (lambda right: right * torch.tensor([1, 1.004]), "yours is 2.01, the right value 2"),
    ],
)
def test_how_an_answer_is_wrong_is_said_in_numbers(got, said):
    right = torch.tensor([1.0, 2.0])
    assert said in answer_check.difference(got(right), right)


def test_numbers_that_differ_look_different():
    assert answer_check.told_apart(1.0, 1.00004) == ("1", "1.00004")
    assert answer_check.told_apart(0.5, 2.0) == ("0.5", "2")
    assert answer_check.told_apart(2.0, 2.0) == ("2", "2")


def test_an_answer_that_writes_into_a_dict_or_a_module_is_told_so(monkeypatch):
    def double(state, layer):
        return layer.weight.detach() * 2 + state["bias"]

    def writes(target):
        def answer(state, layer):
            value = double(state, layer)
            (state["bias"] if target == "state" else layer.weight.data).add_(1)
            return value

        return answer

    exercise = dataclasses.replace(
        find("noising.snr"),
        reference=double,
        solution=double,
        make_inputs=lambda g: [({"bias": torch.ones(2)}, torch.nn.Linear(2, 2))],
        variants=(),
        invariants=(),
        remarks=(),
    )
    monkeypatch.setattr(grading, "find", lambda id: exercise)
    assert check("noising.snr", double)
    for name in ("state", "layer"):
        result = check("noising.snr", writes(name))
        assert result.misconception == "INPUT_MUTATED"
        assert f"argument `{name}`" in result.message


# --- The fresh draw beside the fixed one -----------------------------------------------------


def right_on_the_fixed_draw_only(alphas_cumprod):
    fixed = find("noising.snr").make_inputs(find("noising.snr").generator())
    seen = any(torch.equal(alphas_cumprod.double(), values.double()) for (values,) in fixed)
    return snr(alphas_cumprod) * (1 if seen else 1.3)


def test_what_fails_on_the_fresh_draw_alone_says_with_which_inputs():
    result = check("noising.snr", right_on_the_fixed_draw_only)
    assert (result.outcome, result.misconception) == ("failed", None)
    assert "not on these, which were drawn just now" in result.message
    assert re.search(r"\n    alphas_cumprod = tensor\(\[0\.\d+, 0\.", result.message)
    assert check("noising.snr", right_on_the_fixed_draw_only).message != result.message


def test_where_both_draws_fail_only_the_fixed_one_speaks():
    messages = {check("noising.snr", lambda a: snr(a) * 1.3).message for _ in range(3)}
    assert len(messages) == 1
    assert "drawn just now" not in messages.pop()


def test_a_tensor_too_large_to_show_is_described_by_its_shape():
    seen = []

    def answer(x0, t, noise, alphas_cumprod):
        seen.append(x0)
        late = len(seen) > len(find("noising.q_sample").make_inputs(torch.Generator()))
        return q_sample(x0, t, noise, alphas_cumprod) + late

    message = check("noising.q_sample", answer).message
    assert "    x0 = a tensor of shape (" in message
    assert "    t = tensor([" in message


# --- Remarks -------------------------------------------------------------------------------


def loss_in_no_grad(model, x0, t, noise, alphas_cumprod):
    with torch.no_grad():
        return loss_with_mse(model, x0, t, noise, alphas_cumprod)


@pytest.mark.parametrize(
    ("id", "answer"),
    [
        ("loss.noise_loss", lambda *a: loss_with_mse(*a).item()),
        ("loss.noise_loss", lambda *a: loss_with_mse(*a).detach()),
        ("loss.noise_loss", lambda *a: torch.tensor(float(loss_with_mse(*a)))),
        ("loss.noise_loss", loss_in_no_grad),
        (
            "dreambooth.prior_preservation_loss",
            lambda *a: solution_of("dreambooth.prior_preservation_loss")(*a).item(),
        ),
        (
            "guidance.contrastive_loss",
            lambda *a: solution_of("guidance.contrastive_loss")(*a).detach(),
        ),
    ],
)
def test_a_loss_without_a_gradient_fails(id, answer):
    result = check(id, answer)
    assert (result.outcome, result.misconception) == ("failed", "NO_GRADIENT")
    assert "no gradient flows back" in result.message


def test_a_loss_with_half_its_gradient_fails():
    def half(model, x0, t, noise, alphas_cumprod):
        error = model(process.q_sample(x0, t, noise, alphas_cumprod), t) - noise
        return (error * error.detach()).mean()

    result = check("loss.noise_loss", half)
    assert result.outcome == "failed"
    assert "gradient that flows back from it is not" in result.message


def test_a_variance_that_loses_its_batch_of_one_is_seen():
    def squeezed(x0, x_t, t, betas):
        mean, variance = process.posterior(x0, x_t, t, betas)
        return mean, variance.squeeze()

    assert check("loss.posterior", squeezed).outcome == "failed"


def test_a_helper_that_is_still_a_stub_is_an_error_to_show():
    def snr(alphas_cumprod):
        return stub()

    assert check("noising.snr", snr).outcome == "raised"


def test_deep_recursion_through_c_is_an_error_to_show():
    def snr(alphas_cumprod):
        return sorted([alphas_cumprod], key=snr)

    assert check("noising.snr", snr).outcome == "raised"


def test_an_answer_for_pictures_only_passes_with_a_remark():
    def answer(x0, t, noise, alphas_cumprod):
        bar = alphas_cumprod[t][:, None, None, None]
        return bar.sqrt() * x0 + (1 - bar).sqrt() * noise

    result = check("noising.q_sample", answer)
    assert result.outcome == "passed"
    assert "points (B, 2)" in result.message


def solution_of(id: str):
    names = {}
    exec(solution(id), names)
    return names[id.partition(".")[2]]


# --- How it ends, or does not --------------------------------------------------------------


def for_ever(alphas_cumprod):
    while True:
        pass


def for_ever_and_swallowing(alphas_cumprod):
    while True:
        try:
            alphas_cumprod = alphas_cumprod + 1
        except:  # noqa: E722
            alphas_cumprod = None


def for_ever_and_printing(alphas_cumprod):
    while True:
        print("still here")


@pytest.mark.parametrize("answer", [for_ever, for_ever_and_swallowing, for_ever_and_printing])
def test_an_answer_that_does_not_end_is_stopped(answer, short_limit, capsys):
    result = check("noising.snr", answer)
    assert result.outcome == "failed"
    assert "had not ended after 0.3 seconds" in result.message
    assert "restart" not in result.message
    assert len(capsys.readouterr().out) < 3000


def test_an_answer_that_cannot_be_stopped_is_left_behind(short_limit):
    result = check("noising.snr", lambda alphas_cumprod: time.sleep(2))
    assert result.outcome == "failed"
    assert "restart the kernel" in result.message


def test_an_endless_answer_may_hide_behind_a_mistake(short_limit):
    """Right inputs end, those of an invariant do not: the check ends all the same."""

    def answer(alphas_cumprod):
        if len(alphas_cumprod) == 3:
            for_ever(alphas_cumprod)
        return alphas_cumprod * 1.01

    assert check("noising.snr", answer).outcome == "failed"


def endless_recursion(alphas_cumprod):
    return endless_recursion(alphas_cumprod) + 1


def retrying_recursion(alphas_cumprod, depth=300):
    try:
        raise KeyError(depth)
    except KeyError:
        return 1 / 0 if depth == 0 else retrying_recursion(alphas_cumprod, depth - 1)


@pytest.mark.parametrize(
    ("answer", "last"),
    [
        (endless_recursion, "RecursionError"),
        (retrying_recursion, "ZeroDivisionError"),
        (lambda a: sys.exit(3), "SystemExit: 3"),
        (lambda a: exec("raise KeyboardInterrupt"), "KeyboardInterrupt"),
        (lambda a: exec("raise GeneratorExit"), "GeneratorExit"),
        (lambda a: a + torch.ones(99), "RuntimeError"),
        (lambda a: torch.ones(3).long().bernoulli_(torch.ones(3).long()), "Error"),
        (lambda a: exec("raise ValueError('x' * 100_000)"), "xxx"),
        (lambda a: exec("raise ExceptionGroup('two', [KeyError(1), ValueError(2)])"), "---"),
        (lambda a: exec("raise ValueError(object())"), "ValueError: <object object at 0x...>"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_is_raised_is_shown(answer, last):
    result = check("noising.snr", answer)
    assert result.outcome == "raised"
    assert last in result.message.splitlines()[-1]
    assert len(result.message) < 6000
    assert "runner.py" not in result.message and "grading.py" not in result.message


def test_torchs_own_not_implemented_error_is_no_stub():
    with pytest.raises(NotImplementedError):
        raise_as_torch_does()
    assert check("noising.snr", lambda a: raise_as_torch_does()).outcome == "raised"


def raise_as_torch_does():
    """An operation that torch has not got: raised from within, by no `raise` statement."""
    return torch.ones(2, device="meta").numpy(force=True)


def test_what_an_answer_prints_is_shown_once(capsys):
    def answer(alphas_cumprod):
        print("shape", tuple(alphas_cumprod.shape))
        return snr(alphas_cumprod)

    assert check("noising.snr", answer).outcome == "passed"
    assert capsys.readouterr().out == "shape (12,)\n"


def test_a_wrong_use_of_the_model_names_what_it_takes():
    result = check("loss.noise_loss", lambda m, x0, t, noise, a: m(x0, t[0]))
    assert "t: got shape (), expected (5,), one a sample" in result.message
    assert "loss.py" not in result.message


# --- What it leaves alone, and what stays the same -----------------------------------------


def test_the_learners_random_state_is_untouched():
    def answer(x0, t, noise, alphas_cumprod):
        torch.manual_seed(5)
        return q_sample(x0, t, torch.randn_like(x0), alphas_cumprod)

    torch.manual_seed(123)
    before = torch.get_rng_state()
    check("noising.q_sample", answer)
    check("noising.q_sample", q_sample)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_outcome_does_not_depend_on_the_learners_random_state():
    def draws(x0, t, noise, alphas_cumprod):
        return q_sample(x0, t, noise, alphas_cumprod) + 0.01 * torch.randn(())

    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        results.append(check("noising.q_sample", draws))
    assert results[0] == results[1]


def test_gradients_turned_off_outside_do_not_matter():
    with torch.no_grad():
        assert "remark" not in check("loss.noise_loss", loss_with_mse).message


SESSION = """
import torch
from tlab_diffusion.course import check
def wrong(x0, t, noise, alphas_cumprod):
    return 0.9 * x0 + 0.2 * noise
def broken(x0, t, noise, alphas_cumprod):
    raise ValueError(object())
for answer in (wrong, broken, lambda *a: None, lambda x0, t, noise, ac: x0):
    print(check("noising.q_sample", answer))
    print(check("noising.q_sample", answer)._repr_mimebundle_())
"""


def test_what_is_shown_is_the_same_in_every_run(tmp_path):
    runs = [
        subprocess.run(
            [sys.executable, "-c", SESSION],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "TLAB_PROGRESS": str(tmp_path / seed)},
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert "ValueError" in runs[0]


# --- Grading -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(lambda a: a, "failed"), (lambda a: 1 / 0, "raised"), (stub, "not_attempted")],
)
def test_under_grading_what_did_not_pass_raises(answer, outcome, monkeypatch, capsys):
    monkeypatch.setenv("TLAB_GRADING", "1")
    with pytest.raises(AssertionError, match=f"noising.snr: {outcome}"):
        check("noising.snr", answer)
    assert "noising.snr" in capsys.readouterr().out
    assert check("noising.snr", snr).outcome == "passed"


def test_a_result_is_true_where_the_answer_passed():
    assert check("noising.snr", snr)
    assert [bool(check("noising.snr", a)) for a in (stub, lambda a: a, lambda a: 1 / 0)] == [
        False
    ] * 3


@pytest.mark.parametrize("answer", [stub, lambda a: a, lambda a: 1 / 0])
def test_a_graded_check_raises_without_any_variable(answer, monkeypatch, capsys):
    monkeypatch.delenv("TLAB_GRADING", raising=False)
    with pytest.raises(AssertionError, match=r"noising\.snr: "):
        check("noising.snr", answer, grade=True)
    assert check("noising.snr", snr, grade=True).outcome == "passed"


def test_a_result_is_one_of_four_and_shows_itself():
    results = [check("noising.snr", answer) for answer in (snr, lambda a: a, lambda a: 1 / 0, stub)]
    assert {result.outcome for result in results} == OUTCOMES
    for result in results:
        assert isinstance(result, Result)
        bundle = result._repr_mimebundle_()
        assert set(bundle) == {"text/plain", "text/html"}
        assert bundle["text/plain"] == repr(result)
        assert "noising.snr" in bundle["text/html"]
