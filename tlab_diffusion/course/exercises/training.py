"""Lesson 03: the parts of a training that learn: time, averages, and the loop around them."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tlab_diffusion.course.exercise import Exercise, Variant
from tlab_diffusion.course.exercises import _figures
from tlab_diffusion.course.exercises._shared import faulty_line, randint, randn, uniform
from tlab_diffusion.diffusion import unet
from tlab_diffusion.training import ema

# --- Solutions, as learners are shown them ------------------------------------------------


def timestep_embedding(t, size):
    half = size // 2
    rates = torch.exp(-math.log(10000) * torch.arange(half) / half)  # from 1 down to nearly 1/10000
    angles = t.float()[:, None] * rates  # (B, half): each time at each rate
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def ema_update(ema, params, decay):
    return [
        decay * old + (1 - decay) * new.detach()  # new tensors: the old ones stay as they are
        for old, new in zip(ema, params, strict=True)
    ]


# --- The timestep embedding ---------------------------------------------------------------


def _times(generator: torch.Generator) -> list[tuple]:
    # Small times, and large ones for two waves alone: float32 and float64 then agree to the
    # checker's tolerance.
    later = 1 + torch.randperm(29, generator=generator)
    first = torch.cat([torch.zeros(1, dtype=torch.int64), later[:4]])
    last = torch.tensor([999, randint(generator, 30, 998), randint(generator, 30, 998)])
    return [(first, 8), (later[4:7], 12), (last, 4), (later[7:8], 6)]


def _embedding(
    exponent: Callable = lambda i, half: -i / half,
    joined: Callable = lambda cos, sin: torch.cat([cos, sin], dim=1),
) -> Callable:
    """The embedding, right but for what is handed over; rates are 10000 ** exponent."""

    def form(t: Tensor, size: int) -> Tensor:
        rates = 10000.0 ** exponent(torch.arange(size // 2).double(), size // 2)
        angles = t.double()[:, None] * rates
        return joined(angles.cos(), angles.sin())

    return form


def time_zero_is_all_cosine(answer: Callable, generator: torch.Generator) -> str | None:
    got = answer(torch.zeros(1, dtype=torch.int64), 6)[0].tolist()
    if any(abs(g - right) > 1e-3 for g, right in zip(got, [1, 1, 1, 0, 0, 0], strict=True)):
        return (
            "At t = 0 every cosine is 1 and every sine is 0, so an embedding of size 6 is "
            f"1, 1, 1, 0, 0, 0; yours is {', '.join(f'{g:.4g}' for g in got)}."
        )
    return None


def waves_are_points_on_a_circle(answer: Callable, generator: torch.Generator) -> str | None:
    t, size = _times(generator)[0]
    cosine, sine = answer(t, size).double().chunk(2, dim=1)
    if (cosine.square() + sine.square() - 1).abs().max() > 1e-3:
        return (
            "Number i and number i + half should be the cosine and the sine of one angle, whose "
            "squares add up to 1. Yours do not."
        )
    return None


def later_waves_are_slower(answer: Callable, generator: torch.Generator) -> str | None:
    sines = answer(torch.tensor([0, 1]), 8).double()[:, 4:]
    speeds = (sines[1] - sines[0]).abs()
    if bool((speeds.diff() >= 0).any()):
        return (
            "From one time to the next, the first wave should move most and each later one less. "
            f"Your sines move by {', '.join(f'{speed:.2g}' for speed in speeds.tolist())}."
        )
    return None


# --- The moving average -------------------------------------------------------------------


SHAPES = ((3, 4), (5,), (2, 2, 2))


def _weights(
    generator: torch.Generator, shapes: tuple = SHAPES
) -> tuple[list[Tensor], list[Tensor]]:
    """Averages and parameters, of several shapes as in a network."""
    ema = [1 + randn(generator, *shape) for shape in shapes]
    return ema, [randn(generator, *shape) - 1 for shape in shapes]


def _update(move: Callable) -> Callable:
    """The update as `move(old, new, decay)` of each pair."""

    def form(ema: list[Tensor], params: list[Tensor], decay: float) -> list[Tensor]:
        return [move(old, new, decay) for old, new in zip(ema, params, strict=True)]

    return form


def a_model_at_rest_is_its_average(answer: Callable, generator: torch.Generator) -> str | None:
    ema, _ = _weights(generator)
    off = max((got - old).abs().max().item() for got, old in _pairs(answer, ema, ema, 0.9))
    if off > 1e-3:
        return (
            "If the weights no longer move, the average of them stays what it is. Yours moves by "
            f"{off:.2g}: do the two factors add up to 1?"
        )
    return None


def a_long_memory_moves_little(answer: Callable, generator: torch.Generator) -> str | None:
    ema, params = _weights(generator)
    way = [(got - old) for got, old in _pairs(answer, ema, params, 0.99)]
    right = [0.01 * (new - old) for old, new in zip(ema, params, strict=True)]
    if any((a - b).abs().max() > 1e-4 for a, b in zip(way, right, strict=True)):
        return "With decay 0.99, each average should go 1 % of the way to its new weight."
    return None


def _pairs(answer: Callable, ema: list[Tensor], params: list[Tensor], decay: float):
    """(new average, old average) of each tensor; the answer gets copies."""
    got = answer([e.clone() for e in ema], [p.clone() for p in params], decay)
    return list(zip(got, ema, strict=True))


def averages_carry_no_gradient(answer: Callable, generator: torch.Generator) -> str | None:
    ema, params = _weights(generator)
    got = answer(ema, [new.requires_grad_() for new in params], 0.9)
    if any(average.requires_grad for average in got):
        return (
            "Weights of a network carry a gradient, and so do averages made from them: each step "
            "hangs another link on a chain that keeps every earlier step in memory. Use "
            "`new.detach()`, or work under `torch.no_grad()`."
        )
    return None


# --- Find the bug -------------------------------------------------------------------------

SNIPPETS = (
    """
def train_step(model, optimizer, x0, t, noise, alphas_cumprod):
    loss = noise_loss(model, x0, t, noise, alphas_cumprod)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()
""",
    """
def train(model, optimizer, batches, decay=0.999):
    ema_model = model
    for x0 in batches:
        train_step(model, optimizer, x0)
        averages = ema_update(list(ema_model.parameters()), list(model.parameters()), decay)
        for old, average in zip(ema_model.parameters(), averages):
            old.data.copy_(average)
    return ema_model
""",
    """
def forward(self, x_t, t):
    half = self.embedding_size // 2
    rates = torch.exp(-math.log(10000) * torch.arange(half) / half)
    angles = (t / self.num_train_timesteps)[:, None] * rates
    time = torch.cat([angles.cos(), angles.sin()], dim=1)
    return self.layers(torch.cat([x_t, time], dim=1))
""",
    """
class ResidualBlock(nn.Module):
    def __init__(self, channels, time_size):
        super().__init__()
        self.norm1 = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Linear(time_size, channels)
        self.norm2 = nn.GroupNorm(channels, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, time):
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(F.silu(time))[:, :, None, None]
        return x + self.conv2(F.silu(self.norm2(h)))
""",
)


def find_the_bug(snippet):
    return {1: 4, 2: 2, 3: 4, 4: 7}[snippet]


BUGS = (
    faulty_line(
        1,
        4,
        "Snippet 1: not that line. The loss never falls. Which line comes between computing the "
        "gradient and using it, and what does it do to it?",
    ),
    faulty_line(
        2,
        2,
        "Snippet 2: not that line. The average turns out the same as the model, to the last digit. "
        "How many networks are there?",
    ),
    faulty_line(
        3,
        4,
        "Snippet 3: not that line. The waves are made for times from 0 to about 1000. Work out the "
        "angles at the first and at the last timestep: how far apart are they?",
    ),
    faulty_line(
        4,
        7,
        "Snippet 4: not that line. This block is deaf to the time. What does line 12 add to a "
        "channel, and what does a norm take away?",
    ),
)


EXERCISES = (
    Exercise(
        id="training.timestep_embedding",
        title="Telling the network the time",
        returns="(B, size) floats, cosines first; t is (B,) integers, size even",
        minutes=12,
        difficulty=2,
        reference=unet.timestep_embedding,
        solution=timestep_embedding,
        make_inputs=_times,
        verified="Cosines, then sines, of every time at every rate from 1 down to nearly 1/10000.",
        variants=(
            Variant(
                "SIN_FIRST",
                "The waves are right, the halves have changed places: the sines come first. Both "
                "orders are in use, and weights trained with one are useless with the other. Here "
                "the cosines come first.",
                (_embedding(joined=lambda cos, sin: torch.cat([sin, cos], dim=1)),),
            ),
            Variant(
                "INTERLEAVED",
                "The waves are right, but cosines and sines alternate. Here all cosines come "
                "first, then all sines: `torch.cat` along axis 1, not `torch.stack`.",
                (
                    _embedding(joined=lambda cos, sin: torch.stack([cos, sin], dim=2).flatten(1)),
                    _embedding(joined=lambda cos, sin: torch.stack([sin, cos], dim=2).flatten(1)),
                ),
            ),
            Variant(
                "RATES_RISE",
                "Your rates grow to 10000 where they should fall to 1/10000: a wave that turns "
                "thousands of times between two timesteps says nothing about them. The exponent "
                "wants a minus.",
                (_embedding(exponent=lambda i, half: i / half),),
            ),
            Variant(
                "HALF_EXPONENT",
                "Your slowest wave is far too fast: the exponent runs only half of the way. i "
                "counts to half, so it is divided by half: `arange(half) / half`, not "
                "`arange(half) / size`.",
                (_embedding(exponent=lambda i, half: -i / (2 * half)),),
            ),
            Variant(
                "DOUBLE_EXPONENT",
                "Your waves slow down twice too fast. In `10000 ** (-2 i / size)` the 2 is there "
                "already when you divide by half: `arange(half) / half`.",
                (_embedding(exponent=lambda i, half: -2 * i / half),),
            ),
            Variant(
                "END_INCLUDED",
                "Your last rate is exactly 1/10000: i is divided by `half - 1`. Some code does "
                "this, and works as well; here i is divided by half, so the last rate stays a "
                "little above.",
                (_embedding(exponent=lambda i, half: -i / (half - 1)),),
            ),
            Variant(
                "ONE_RATE",
                "All your waves are the same wave, at rate 1: times that are a multiple of its "
                "period (2 pi) apart look alike. Each column needs a rate of its own.",
                (_embedding(exponent=lambda i, half: 0 * i),),
            ),
            Variant(
                "ONLY_COSINES",
                "The second half repeats the cosines. A cosine alone cannot tell whether its angle "
                "grows or shrinks; with the sine beside it, it can. Look at the second part of "
                "`torch.cat`.",
                (_embedding(joined=lambda cos, sin: torch.cat([cos, cos], dim=1)),),
            ),
        ),
        invariants=(time_zero_is_all_cosine, waves_are_points_on_a_circle, later_waves_are_slower),
        expected_figure=_figures.timestep_embedding,
        hints=(
            "Think of the hands of a clock: one turns fast and tells near times apart, one turns "
            "slowly and tells far ones apart. Here are half as many hands as `size`; each hand is "
            "written down as the cosine and the sine of its angle.",
            "With half = size // 2 and i = 0, 1, ..., half - 1:\n\n"
            "    rate_i  = exp(-log(10000) * i / half)\n"
            "    angle   = t * rate_i      # every time with every rate: (B, half)\n"
            "    result  = cosines, then sines, along axis 1",
            "    import math\n\n"
            "    half = size // 2\n"
            "    rates = torch.exp(-math.log(10000) * torch.arange(...) / ...)\n"
            "    angles = t.float()[:, None] * ...\n"
            "    return torch.cat([..., ...], dim=1)",
        ),
    ),
    Exercise(
        id="training.ema_update",
        title="The moving average of the weights",
        returns="a list of the new averages; ema and params are lists of tensors",
        minutes=8,
        difficulty=1,
        reference=ema.ema_update,
        solution=ema_update,
        make_inputs=lambda g: [
            (*_weights(g), 0.8),
            (*_weights(g), 0.97),
            (*_weights(g, ((), (2, 1, 3, 3))), uniform(g, 0.1, 0.9)),
            (*_weights(g, ((4,),)), 0.0),
        ],
        verified="Each average keeps `decay` of itself and takes the rest from its new weight.",
        variants=(
            Variant(
                "DECAY_SWAPPED",
                "The factors have changed places: your average keeps `1 - decay` of itself. With "
                "decay 0.999 it would be the newest weights with hardly any memory. `decay` "
                "multiplies the old average.",
                (_update(lambda old, new, decay: (1 - decay) * old + decay * new),),
            ),
            Variant(
                "FACTORS_DO_NOT_SUM_TO_1",
                "Your two factors do not add up to 1, so the average grows beyond what it "
                "averages. The new weight comes with `1 - decay`.",
                (
                    _update(lambda old, new, decay: decay * old + new),
                    _update(lambda old, new, decay: old + (1 - decay) * new),
                    _update(lambda old, new, decay: decay * (old + new)),
                ),
            ),
            Variant(
                "MOVES_AWAY",
                "Your average moves away from the new weights. Written as a step it is `old + (1 - "
                "decay) * (new - old)`: look at the sign of the difference.",
                (
                    _update(lambda old, new, decay: old + (1 - decay) * (old - new)),
                    _update(lambda old, new, decay: decay * old - (1 - decay) * new),
                ),
            ),
            Variant(
                "PLAIN_MEAN",
                "You take the plain mean of old and new: half and half, whatever `decay` is. That "
                "remembers about two steps. `decay` says how much of the old one stays.",
                (_update(lambda old, new, decay: (old + new) / 2),),
            ),
            Variant(
                "COPIES_THE_WEIGHTS",
                "You return the new weights as they are: nothing is averaged. Mix them with the "
                "old average, `decay` of which stays.",
                (_update(lambda old, new, decay: 1 * new),),
            ),
            Variant(
                "NEVER_MOVES",
                "You return the averages as they were: the new weights leave no trace. Check "
                "which of the two lists your loop takes its values from.",
                (_update(lambda old, new, decay: 1 * old),),
            ),
        ),
        invariants=(a_model_at_rest_is_its_average, a_long_memory_moves_little),
        remarks=(averages_carry_no_gradient,),
        expected_figure=_figures.ema_update,
        hints=(
            "An average that forgets: keep most of what it was, and add a little of what is new. "
            "The two shares add up to 1.",
            "For each pair of tensors: new average = decay * old average + (1 - decay) * weight. "
            "Return a list of new tensors; the weights carry a gradient, the averages should not.",
            "    return [\n"
            "        decay * ... + (1 - decay) * ...  # without the weight's gradient\n"
            "        for old, new in zip(ema, params)\n"
            "    ]",
        ),
    ),
    Exercise(
        id="training.find_the_bug",
        title="Find the bug: networks and their training",
        returns="the number of the faulty line of snippet 1, 2, 3 or 4",
        minutes=15,
        difficulty=3,
        reference=find_the_bug,
        solution=find_the_bug,
        make_inputs=lambda g: [(1,), (2,), (3,), (4,)],
        verified="Found: gradients thrown away before they are used; an average that is the model "
        "itself, for want of a copy; times from 0 to 1 for waves made for 0 to 1000; and a norm of "
        "single channels, which takes away just what the time has added.",
        invariants=BUGS,
        snippets=SNIPPETS,
        hints=(
            "All four run without an error. Ask of each: does the optimizer see a gradient? How "
            "many networks are there? Does the time reach the output?",
            "Snippet 1: say aloud what each line does to `.grad`. Snippet 2: `ema_model is "
            "model`? Snippet 3: print the embeddings of t = 0 and t = 999. Snippet 4: a group "
            "norm takes the mean of each group away. How many channels has a group of `norm2`?",
            "Snippet 1: clear old gradients before `backward`, not after.",
            "Snippet 2: a second network needs `copy.deepcopy`.",
            "Snippet 3: the waves want t itself.",
            "Snippet 4: the time adds one number to a whole channel; a norm of that channel alone "
            "takes it away.",
        ),
    ),
)
