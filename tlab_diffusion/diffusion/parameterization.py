r"""What a model may predict: epsilon, x0, v or the score, and how to convert between them.

All follow from one equation, `x_t = a x0 + b eps` with `a = sqrt(alpha_bar_t)` and
`b = sqrt(1 - alpha_bar_t)`: given x_t, any one of them gives the others.
Samples are (B, ...), `t` is (B,) integers from 0 to T - 1, `alphas_cumprod` is (T,).
"""

from torch import Tensor

from tlab_diffusion.diffusion._check import check_choice, check_same_shape
from tlab_diffusion.diffusion.process import alpha_sigma, check_noisy_batch
from tlab_diffusion.errors import InputError

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")


def x0_from_eps(x_t: Tensor, t: Tensor, eps: Tensor, alphas_cumprod: Tensor) -> Tensor:
    r"""`x0 = (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t)` (Eq. 4 solved for x0).

    Raises:
        InputError: on a wrong shape, dtype or timestep, or where alpha_bar_t is 0 (zero
            terminal SNR), because there eps does not determine x0.
    """
    a, b = _coefficients(x_t, t, alphas_cumprod, "eps", eps)
    check_prediction_type("epsilon", a, b)
    return (x_t - b * eps) / a


def eps_from_x0(x_t: Tensor, t: Tensor, x0: Tensor, alphas_cumprod: Tensor) -> Tensor:
    r"""`eps = (x_t - sqrt(alpha_bar_t) x0) / sqrt(1 - alpha_bar_t)` (Eq. 4 solved for eps)."""
    a, b = _coefficients(x_t, t, alphas_cumprod, "x0", x0)
    check_prediction_type("sample", a, b)
    return (x_t - a * x0) / b


def v_from_x0_eps(x0: Tensor, eps: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    r"""`v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x0` (Section 4, arXiv:2202.00512)."""
    a, b = _coefficients(x0, t, alphas_cumprod, "eps", eps)
    return a * eps - b * x0


def x0_from_v(x_t: Tensor, t: Tensor, v: Tensor, alphas_cumprod: Tensor) -> Tensor:
    r"""`x0 = sqrt(alpha_bar_t) x_t - sqrt(1 - alpha_bar_t) v`: defined at every t."""
    a, b = _coefficients(x_t, t, alphas_cumprod, "v", v)
    return a * x_t - b * v


def eps_from_v(x_t: Tensor, t: Tensor, v: Tensor, alphas_cumprod: Tensor) -> Tensor:
    r"""`eps = sqrt(1 - alpha_bar_t) x_t + sqrt(alpha_bar_t) v`: defined at every t."""
    a, b = _coefficients(x_t, t, alphas_cumprod, "v", v)
    return b * x_t + a * v


def score_from_eps(eps: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    r"""`grad log q(x_t) = -E[eps | x_t] / sqrt(1 - alpha_bar_t)` (Eq. 11, arXiv:2105.05233)."""
    a, b = _coefficients(eps, t, alphas_cumprod, "eps", eps)
    check_prediction_type("sample", a, b)
    return -eps / b


def eps_from_score(score: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    r"""`E[eps | x_t] = -sqrt(1 - alpha_bar_t) grad log q(x_t)`, the inverse of the above."""
    _, b = _coefficients(score, t, alphas_cumprod, "score", score)
    return -b * score


def to_x0_eps(
    prediction: Tensor, x_t: Tensor, t: Tensor, alphas_cumprod: Tensor, prediction_type: str
) -> tuple[Tensor, Tensor]:
    r"""Turn a model's output into the pair (x0, eps) that samplers work with.

    Args:
        prediction: the model's output, shaped like `x_t`.
        x_t: (B, ...).
        t: (B,) integers from 0 to T - 1.
        alphas_cumprod: (T,).
        prediction_type: "epsilon", "sample" (x0) or "v_prediction".

    Returns:
        x0 and eps, each shaped like `x_t`.
    """
    check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
    a, b = _coefficients(x_t, t, alphas_cumprod, "prediction", prediction)
    check_prediction_type(prediction_type, a, b)
    return solve_x0_eps(prediction, x_t, a, b, prediction_type)


def solve_x0_eps(
    prediction: Tensor, x_t: Tensor, a: Tensor, b: Tensor, prediction_type: str
) -> tuple[Tensor, Tensor]:
    r"""The equations of `to_x0_eps` without its checks: `x_t = a x0 + b eps`, solved."""
    if prediction_type == "epsilon":
        return (x_t - b * prediction) / a, prediction
    if prediction_type == "sample":
        return prediction, (x_t - a * prediction) / b
    return a * x_t - b * prediction, b * x_t + a * prediction


def training_target(
    x0: Tensor, eps: Tensor, t: Tensor, alphas_cumprod: Tensor, prediction_type: str
) -> Tensor:
    r"""The target of a model of this prediction type, shaped like `x0`."""
    check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
    if prediction_type == "epsilon":
        return eps
    if prediction_type == "sample":
        return x0
    return v_from_x0_eps(x0, eps, t, alphas_cumprod)


def _coefficients(x: Tensor, t: Tensor, alphas_cumprod: Tensor, name: str, other: Tensor):
    """Check the batch and return sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t), shaped for x."""
    check_noisy_batch(x, t, alphas_cumprod)
    check_same_shape(name, other, "x_t", x)
    return alpha_sigma(alphas_cumprod, t, x)


def check_prediction_type(prediction_type: str, a: Tensor, b: Tensor) -> None:
    """Refuse to solve `x_t = a x0 + b eps` where that would divide by 0."""
    if prediction_type == "epsilon" and bool((a == 0).any()):
        raise InputError(
            "prediction_type",
            got="'epsilon' at a timestep where alpha_bar_t is 0",
            expected="'v_prediction' or 'sample' there",
            fix="Predict v or x0 at zero terminal SNR.",
        )
    if prediction_type == "sample" and bool((b == 0).any()):
        raise InputError(
            "alphas_cumprod",
            got="alpha_bar_t = 1 at a timestep",
            expected="below 1",
            fix="Without noise neither eps nor the score is defined.",
        )
