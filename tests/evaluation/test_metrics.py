"""Metrics against closed forms and brute force."""

import itertools
import math

import pytest
import torch

from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation import metrics


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


def test_similarities_and_diversity_by_brute_force():
    a, b, c = randn(5, 7), 3 * randn(4, 7, seed=1), randn(5, 7, seed=2)
    pairs = [cosine(x, y) for x, y in itertools.product(a, b)]
    assert metrics.image_similarity(a, b).item() == pytest.approx(sum(pairs) / 20)
    own = [cosine(x, y) for x, y in zip(a, c, strict=True)]
    assert metrics.prompt_similarity(a, c).item() == pytest.approx(sum(own) / 5)
    apart = [1 - cosine(x, y) for x, y in itertools.permutations(a, 2)]
    assert metrics.diversity(a).item() == pytest.approx(sum(apart) / 20)


def test_similarities_of_known_vectors():
    a = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    assert metrics.image_similarity(a, a).item() == pytest.approx(0.5)
    assert metrics.prompt_similarity(a, 7 * a).item() == pytest.approx(1)
    assert metrics.diversity(a).item() == pytest.approx(1)
    assert metrics.diversity(a[:1].expand(4, 2)).item() == pytest.approx(0, abs=1e-6)


def test_kid_by_brute_force():
    x, y = randn(12, 3), 1 + randn(10, 3, seed=1)

    def kernel(a, b):
        return (a @ b / 3 + 1).item() ** 3

    def squared_mmd(x, y):
        xx = [kernel(a, b) for a, b in itertools.permutations(x, 2)]
        yy = [kernel(a, b) for a, b in itertools.permutations(y, 2)]
        xy = [kernel(a, b) for a, b in itertools.product(x, y)]
        return sum(xx) / len(xx) + sum(yy) / len(yy) - 2 * sum(xy) / len(xy)

    parts = [squared_mmd(x[:6], y[:5]), squared_mmd(x[6:], y[5:])]
    value, error = metrics.kid(x, y, blocks=2)
    assert value == pytest.approx(sum(parts) / 2)
    assert error == pytest.approx(abs(parts[0] - parts[1]) / 2)


def test_kid_is_nothing_for_one_distribution_and_grows_with_the_distance():
    x, y = randn(2000, 8), randn(2000, 8, seed=1)
    same = metrics.kid(x, y)
    assert abs(same.value) < 3 * same.error
    shifted = [metrics.kid(x, y + shift).value for shift in (0.1, 0.2, 0.4)]
    assert shifted == sorted(shifted) and shifted[0] > 3 * same.error
    assert metrics.kid(x, 1.3 * y).value > 3 * same.error  # as wide as it is near


def test_the_standard_error_is_that_of_repeated_estimates():
    estimates = [metrics.kid(randn(200, 4, seed=2 * i), randn(200, 4, seed=2 * i + 1))
                 for i in range(60)]  # fmt: skip
    values = torch.tensor([value for value, _ in estimates])
    errors = torch.tensor([error for _, error in estimates])
    assert values.std().item() == pytest.approx(errors.square().mean().sqrt().item(), rel=0.3)
    assert abs(values.mean().item()) < 3 * values.std().item() / math.sqrt(60)


def test_entropy_of_known_distributions():
    assert metrics.entropy([1, 1, 1, 1]) == pytest.approx(math.log(4))
    assert metrics.entropy([3, 0]) == 0
    world = {"a": 1, "b": 1, "c": 2, "d": 0}
    assert metrics.entropy_share(["a", "b", "c", "c"], world) == pytest.approx(1)
    assert metrics.entropy_share(["a"] * 9, world) == 0
    half = metrics.entropy_share(["a", "b"], dict.fromkeys("abcd", 5))
    assert half == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: metrics.image_similarity(randn(3, 4), randn(3, 5)), "rows of 4 and of 5"),
        (lambda: metrics.image_similarity(randn(0, 4), randn(3, 4)), r"\(0, 4\)"),
        (lambda: metrics.image_similarity(randn(4), randn(4)), r"\(4,\)"),
        (lambda: metrics.prompt_similarity(randn(3, 4), randn(2, 4)), "one prompt for each"),
        (lambda: metrics.diversity(randn(1, 4)), "2 or more"),
        (lambda: metrics.kid(randn(9, 4), randn(9, 4), blocks=5), "9 and 9 rows in 5 blocks"),
        (lambda: metrics.kid(randn(9, 4), randn(9, 4), blocks=1), "2 blocks or more"),
        (lambda: metrics.entropy_share([], {"a": 1, "b": 1}), "values: got none"),
        (lambda: metrics.entropy_share(["a"], {"a": 1, "b": 0}), "2 values or more"),
    ],
)
def test_bad_input_is_one_line(call, line):
    with pytest.raises(InputError, match=line) as error:
        call()
    assert "\n" not in str(error.value)
