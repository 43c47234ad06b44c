"""Lesson 09: where to look, how far a step goes, and what spoils a comparison."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tlab_diffusion.course.exercise import Exercise, Variant
from tlab_diffusion.course.exercises._shared import faulty_line, rand, randint, randn, uniform

# --- Solutions, as learners are shown them ------------------------------------------------


def log_spaced(low, high, num):
    exponents = torch.linspace(math.log(low), math.log(high), num)
    return exponents.exp()


def adam_update(gradient, m, v, step, learning_rate):
    beta1, beta2, epsilon = 0.9, 0.999, 1e-8
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    m_hat = m / (1 - beta1**step)  # means that began at 0 are too small at first
    v_hat = v / (1 - beta2**step)
    return -learning_rate * m_hat / (v_hat.sqrt() + epsilon), m, v


# --- Evenly on a logarithmic scale --------------------------------------------------------


def _powers(low: float, factor: float, num: int) -> Tensor:
    return low * factor ** torch.arange(num, dtype=torch.float64)


def _ranges(generator: torch.Generator) -> list[tuple]:
    ratio, num = uniform(generator, 5.0, 50.0), randint(generator, 4, 7)
    low = uniform(generator, 0.01, 0.6)
    usual = [(0.2, 30.0, 4), (1.0, 27.0, 5), (3.0, 35.0, 3)]
    return [*usual, (low, ratio * low, num), (2.0, uniform(generator, 20.0, 40.0), 2)]


def both_ends_are_there(answer: Callable, generator: torch.Generator) -> str | None:
    got = answer(0.5, 32.0, 4)
    if abs(float(got[0]) - 0.5) > 1e-3 or abs(float(got[-1]) - 32) > 1e-2:
        return (
            f"From 0.5 to 32 the first value is 0.5 and the last one 32; yours are "
            f"{float(got[0]):g} and {float(got[-1]):g}."
        )
    return None


def neighbours_have_one_ratio(answer: Callable, generator: torch.Generator) -> str | None:
    got = answer(0.5, 32.0, 4).double()
    ratios = got[1:] / got[:-1]
    if (ratios - 4).abs().max() > 1e-2:
        said = ", ".join(f"{ratio:.2f}" for ratio in ratios.tolist())
        return (
            "From 0.5 to 32 in 4 values, each is 4 times the one before it. The ratios of yours: "
            f"{said}."
        )
    return None


# --- Adam ---------------------------------------------------------------------------------

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def _moments(generator: torch.Generator, shape: tuple, step: int, learning_rate: float) -> tuple:
    """A gradient and what came before it, in sizes on which every slip shows."""
    gradient = 3 + 3 * randn(generator, *shape)
    squares = rand(generator, *shape, low=0.5, high=1.5)
    return gradient, 2 + randn(generator, *shape), squares, step, learning_rate


def _tiny_moments(generator: torch.Generator) -> tuple:
    """Gradients so small that it matters where the 1e-8 is."""
    size = 3e-8
    gradient, m, squares, step, learning_rate = _moments(generator, (3, 2), 2, 0.6)
    return size * gradient, size * m, size**2 * squares, step, learning_rate


def _adam(
    betas: tuple[float, float] = (BETA1, BETA2),
    square: Callable = lambda gradient: gradient**2,
    correct: Callable = lambda mean, beta, step: mean / (1 - beta**step),
    change: Callable = lambda m, v, rate, gradient: -rate * m / (v.sqrt() + EPSILON),
) -> Callable:
    """Adam's update, right but for what is handed over."""

    def form(gradient: Tensor, m: Tensor, v: Tensor, step: int, learning_rate: float) -> tuple:
        m = betas[0] * m + (1 - betas[0]) * gradient
        v = betas[1] * v + (1 - betas[1]) * square(gradient)
        m_hat, v_hat = correct(m, betas[0], step), correct(v, betas[1], step)
        return change(m_hat, v_hat, learning_rate, gradient), m, v

    return form


def _with_the_old_means(
    gradient: Tensor, m: Tensor, v: Tensor, step: int, learning_rate: float
) -> tuple:
    _, new_m, new_v = adam_update(gradient, m, v, step, learning_rate)
    m_hat, v_hat = m / (1 - BETA1**step), v / (1 - BETA2**step)
    return -learning_rate * m_hat / (v_hat.sqrt() + EPSILON), new_m, new_v


def the_first_step_is_as_long_as_the_learning_rate(
    answer: Callable, generator: torch.Generator
) -> str | None:
    gradient, nothing = torch.tensor([0.02, -5.0, 300.0]), torch.zeros(3)
    got = answer(gradient, nothing, nothing.clone(), 1, 0.1)[0]
    if (got + 0.1 * gradient.sign()).abs().max() > 1e-3:
        said = ", ".join(f"{each:.3g}" for each in got.tolist())
        return (
            "In the first step, from m = v = 0, every weight moves by the learning rate against "
            "its gradient, however large that is: for gradients 0.02, -5 and 300 at rate 0.1 by "
            f"-0.1, 0.1 and -0.1. Yours moves by {said}."
        )
    return None


def means_at_rest_stay(answer: Callable, generator: torch.Generator) -> str | None:
    gradient = randn(generator, 4)
    _, m, v = answer(gradient, gradient.clone(), gradient**2, 7, 0.1)
    if (m - gradient).abs().max() > 1e-3 or (v - gradient**2).abs().max() > 1e-3:
        return (
            "Where m is the gradient already, and v its square, both running means should stay as "
            "they are; yours move."
        )
    return None


# --- Find the bug -------------------------------------------------------------------------

SNIPPETS = (
    """
def search(train_and_score, low, high, num):
    best_score, best_rate = 0.0, None
    rates = torch.linspace(low, high, num)
    for rate in rates.tolist():
        score = train_and_score(learning_rate=rate)
        if score > best_score:
            best_score, best_rate = score, rate
    return best_rate
""",
    """
def measure_a_row(model, optimizer, learning_rate, step_counts):
    # what would a training of 100, of 300, of 1000 steps have given? One training tells of all
    found = {}
    for step in range(1, max(step_counts) + 1):
        rate = learning_rate * (1 - step / max(step_counts))
        train_one_step(model, optimizer, rate)
        if step in step_counts:
            found[step] = measure(model)
    return found
""",
    """
def best_cell(cells, prompts):
    scores = {}
    for number, cell in enumerate(cells):
        pictures = draw(cell.model, prompts, seed=number)
        scores[cell.name] = score(pictures, prompts)
    return max(scores, key=scores.get)
""",
    """
def next_cell(study, cells):
    # a machine may be switched off at any time; start() refuses what another has just begun
    taken = [trial.cell for trial in study.trials]
    for cell in cells:
        if cell not in taken:
            return study.start(cell)
    return None
""",
)


def find_the_bug(snippet):
    return {1: 3, 2: 5, 3: 4, 4: 3}[snippet]


BUGS = (
    faulty_line(
        1,
        3,
        "Snippet 1: not that line. Of 10 values from 0.00001 to 0.01, nine are above 0.001. Which "
        "line puts them there?",
    ),
    faulty_line(
        2,
        5,
        "Snippet 2: not that line. At step 100 this model is not what a training of 100 steps "
        "would have made of it. In what do the two differ?",
    ),
    faulty_line(
        3,
        4,
        "Snippet 3: not that line. Run it twice with the cells in another order, and another one "
        "may win. What does the order decide?",
    ),
    faulty_line(
        4,
        3,
        "Snippet 4: not that line. After a power cut, one cell of the table stays empty for ever. "
        "Who is supposed to be working on it?",
    ),
)


EXERCISES = (
    Exercise(
        id="grid.log_spaced",
        title="Evenly on a logarithmic scale",
        returns="(num,), rising from low to high, both among them",
        minutes=8,
        difficulty=1,
        reference=log_spaced,
        solution=log_spaced,
        make_inputs=_ranges,
        verified="Each value is the one before it, times the same factor; both ends are there.",
        variants=(
            Variant(
                "LINEAR",
                "Your values are evenly spaced: the same *difference* between neighbours. From "
                "0.00001 to 0.01 nearly all would lie in the last tenth of the way. What should "
                "be the same is the ratio.",
                (lambda low, high, num: torch.linspace(low, high, num),),
            ),
            Variant(
                "END_LEFT_OUT",
                "Your last value is not `high`: you divide the way into num parts, but num values "
                "have only num - 1 gaps between them.",
                (
                    lambda low, high, num: _powers(low, (high / low) ** (1 / num), num),
                    lambda low, high, num: _powers(low, (high / low) ** (1 / num), num + 1)[1:],
                ),
            ),
            Variant(
                "EXPONENTS_NOT_VALUES",
                "You return the logarithms, which are evenly spaced indeed. Undo the logarithm at "
                "the end.",
                (
                    lambda low, high, num: torch.linspace(math.log10(low), math.log10(high), num),
                    lambda low, high, num: torch.linspace(math.log(low), math.log(high), num),
                ),
            ),
            Variant(
                "LOGARITHMS_MIXED",
                "You take one logarithm and undo another: `exp` belongs to `log`, and 10 to a "
                "power to `log10` (`torch.logspace` counts in powers of 10).",
                (
                    lambda low, high, num: torch.linspace(
                        math.log10(low), math.log10(high), num
                    ).exp(),
                    lambda low, high, num: torch.logspace(math.log(low), math.log(high), num),
                ),
            ),
            Variant(
                "ENDS_TAKEN_FOR_EXPONENTS",
                "You take low and high for exponents, as `torch.logspace` does: it starts at 10 "
                "to the power of low. Take their logarithms first.",
                (lambda low, high, num: torch.logspace(low, high, num),),
            ),
            Variant(
                "FIXED_FACTOR",
                "You multiply by a fixed factor, whatever `high` is. The factor follows from the "
                "ends: (high / low) to the power of 1 / (num - 1).",
                (
                    lambda low, high, num: _powers(low, 10, num),
                    lambda low, high, num: _powers(low, 2, num),
                ),
            ),
            Variant(
                "FALLING",
                "Your values fall from high to low. They should rise: the first of them is `low`.",
                (lambda low, high, num: log_spaced(high, low, num),),
            ),
        ),
        invariants=(both_ends_are_there, neighbours_have_one_ratio),
        hints=(
            "Where is the middle of 0.001 and 0.1? Not at 0.05, but at 0.01: ten times the one, a "
            "tenth of the other.",
            "Take the logarithm of both ends, go from one to the other in even steps "
            "(`torch.linspace`), and undo the logarithm.",
            "    import math\n\n"
            "    exponents = torch.linspace(math.log(low), ..., num)\n    return torch.exp(...)",
        ),
    ),
    Exercise(
        id="grid.adam_update",
        title="How far does a step go?",
        returns="the change of the weights, the new m, the new v; all of the gradient's shape",
        minutes=15,
        difficulty=2,
        reference=adam_update,
        solution=adam_update,
        make_inputs=lambda g: [
            _moments(g, (4, 3), 2, 0.7),
            _moments(g, (5,), 4, 1.3),
            _moments(g, (2, 2, 2), 9, 0.4),
            _moments(g, (2, 3), randint(g, 2, 20), uniform(g, 0.2, 2.0)),
            _moments(g, (3,), 500, 0.9),
            _tiny_moments(g),
        ],
        verified="The mean gradient over the root of the mean square, both corrected for their "
        "start at 0: about the learning rate, whatever the gradient's size.",
        variants=(
            Variant(
                "NO_BIAS_CORRECTION",
                "You use m and v as they are. They began at 0 and are far too small in the first "
                "steps: divide m by `1 - 0.9**step`, and v by `1 - 0.999**step`.",
                (_adam(correct=lambda mean, beta, step: mean),),
            ),
            Variant(
                "UPHILL",
                "Your change has the gradient's own sign, so the loss would rise. Go against it.",
                (_adam(change=lambda m, v, rate, gradient: rate * m / (v.sqrt() + EPSILON)),),
            ),
            Variant(
                "PLAIN_DESCENT",
                "Your change is the learning rate times the gradient, or its mean: that is "
                "gradient descent, whose steps grow with the gradient. Adam divides by the root "
                "of the mean square.",
                (
                    _adam(change=lambda m, v, rate, gradient: -rate * gradient),
                    _adam(change=lambda m, v, rate, gradient: -rate * m),
                ),
            ),
            Variant(
                "ROOT_MISSING",
                "You divide by the mean square itself. Its *root* has the size of a gradient, so "
                "that the quotient has no size of its own.",
                (_adam(change=lambda m, v, rate, gradient: -rate * m / (v + EPSILON)),),
            ),
            Variant(
                "NOT_SQUARED",
                "Your v is a running mean of the gradient itself, or of its size. It should be one "
                "of its square, so that the root of v says how large gradients are.",
                (_adam(square=lambda gradient: gradient), _adam(square=torch.abs)),
            ),
            Variant(
                "BETAS_SWAPPED",
                "The two decays have changed places: m forgets quickly (0.9), v slowly (0.999).",
                (_adam(betas=(BETA2, BETA1)),),
            ),
            Variant(
                "OLD_MEANS",
                "Your change comes from m and v as they were before this gradient. Bring them up "
                "to date first.",
                (_with_the_old_means,),
            ),
            Variant(
                "EPSILON_LEFT_OUT",
                "The 1e-8 beside the root is missing. A weight whose gradient is 0 gets 0 / 0, and "
                "is no number from then on: divide by `v_hat.sqrt() + 1e-8`.",
                (_adam(change=lambda m, v, rate, gradient: -rate * m / v.sqrt()),),
            ),
            Variant(
                "EPSILON_INSIDE_THE_ROOT",
                "You add the 1e-8 before you take the root, which makes it 1e-4: small gradients "
                "then hardly move their weights. Take the root first, then add.",
                (_adam(change=lambda m, v, rate, gradient: -rate * m / (v + EPSILON).sqrt()),),
            ),
            Variant(
                "OFF_BY_ONE_STEP",
                "Your correction uses the number of another step. Steps count from 1 here: in the "
                "first one m is 0.1 times the gradient, and `1 - 0.9**1 = 0.1` makes up for it.",
                (
                    _adam(correct=lambda mean, beta, step: mean / (1 - beta ** (step + 1))),
                    _adam(correct=lambda mean, beta, step: mean / (1 - beta ** (step - 1))),
                ),
            ),
        ),
        invariants=(the_first_step_is_as_long_as_the_learning_rate, means_at_rest_stay),
        hints=(
            "Two running means, of the gradient and of its square; the step is the one over the "
            "root of the other.",
            "m = 0.9 m + 0.1 g; v = 0.999 v + 0.001 g². Then `m / (1 - 0.9**step)` and "
            "`v / (1 - 0.999**step)`. The change is -learning_rate times the first over the root "
            "of the second (plus 1e-8, against a division by 0).",
            "    m = 0.9 * m + ...\n"
            "    v = 0.999 * v + ...\n"
            "    m_hat, v_hat = m / (1 - ...), v / (1 - ...)\n"
            "    return -learning_rate * m_hat / (torch.sqrt(...) + 1e-8), m, v",
        ),
    ),
    Exercise(
        id="grid.find_the_bug",
        title="Find the bug: a fair comparison",
        returns="the number of the faulty line of snippet 1, 2, 3 or 4",
        minutes=12,
        difficulty=2,
        reference=find_the_bug,
        solution=find_the_bug,
        make_inputs=lambda g: [(1,), (2,), (3,), (4,)],
        verified="Found: learning rates in even steps, nearly all of them near the top; a falling "
        "learning rate in a training that is to tell of shorter ones; other noise for every "
        "cell; and trials that died, counted as done.",
        invariants=BUGS,
        snippets=SNIPPETS,
        hints=(
            "All four run, and return a winner. Ask of each: do the cells differ in nothing but "
            "what is compared, and does each get its turn?",
            "Snippet 1: print the values. Snippet 2: what is the learning rate at step 100 here, "
            "and at the end of a training of 100 steps? Snippet 3: who gets which noise? Snippet "
            "4: what becomes of a trial whose machine is gone?",
            "Snippet 1: learning rates differ by factors.",
            "Snippet 2: only a constant rate makes the start of a long training a short one.",
            "Snippet 3: one seed for all.",
            "Snippet 4: only trials that are complete, or alive, are taken.",
        ),
    ),
)
