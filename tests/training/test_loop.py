"""The training loop learns a mixture well enough to sample it, and passes conditions on."""

import itertools

import pytest
import torch
from torch import nn

from tlab_diffusion.diffusion import losses, schedules, unet
from tlab_diffusion.diffusion.mixture import GaussianMixture
from tlab_diffusion.errors import InputError
from tlab_diffusion.training import ema, loop

ALPHAS_CUMPROD = schedules.alphas_cumprod(schedules.linear_betas(100, 1e-3, 0.15))
MIXTURE = GaussianMixture(
    torch.tensor([0.5, 0.5]),
    torch.tensor([[-1.5, 0.0], [1.5, 0.0]]),
    0.05 * torch.eye(2).repeat(2, 1, 1),
)


class PointModel(nn.Module):
    """A small network for points in the plane."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 + 16, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)
        )

    def forward(self, x_t, t):
        return self.layers(torch.cat([x_t, unet.timestep_embedding(t, 16)], dim=1))


def run(steps, seed=0):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = PointModel()
    batches = (MIXTURE.sample(256, generator) for _ in range(steps))
    yield from loop.train(model, batches, ALPHAS_CUMPROD, generator=generator)


def test_training_approaches_the_exact_denoiser():
    *_, last = run(800)
    generator = torch.Generator().manual_seed(1)
    x0 = MIXTURE.sample(5000, generator)
    t, noise = torch.randint(100, (5000,), generator=generator), torch.randn(x0.shape)
    args = (x0, t, noise, ALPHAS_CUMPROD)
    learned = losses.noise_loss(last.ema_model, *args)
    exact = losses.noise_loss(MIXTURE.denoiser(ALPHAS_CUMPROD), *args)
    # From 1.0 (saying nothing) most of the way to the least possible loss.
    assert exact < learned < exact + 0.1 * (1 - exact)


def test_same_seed_same_training():
    for a, b in zip(run(5), run(5), strict=True):
        assert a.loss == b.loss


def test_the_caller_may_stop():
    assert [s.step for s in itertools.islice(run(1000), 3)] == [1, 2, 3]


def test_a_loss_that_is_not_finite_stops_with_its_step():
    batches = [torch.zeros(4, 2), torch.full((4, 2), float("nan"))]
    with pytest.raises(InputError, match="nan at step 2"):
        list(loop.train(PointModel(), batches, ALPHAS_CUMPROD))


class Recorder(nn.Module):
    """Remembers what it was asked; one weight, a dropout and a batch norm's buffer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5]))
        self.register_buffer("calls", torch.tensor(0.0))
        self.asked, self.conditions = [], []

    def forward(self, x_t, t, *condition):
        self.conditions += condition
        self.asked.append((x_t.detach(), t))
        self.calls += 1
        return self.weight * x_t


def record(steps=20, **options):
    model = Recorder()
    batches = [torch.full((64, 2), 0.3)] * steps
    generator = torch.Generator().manual_seed(0)
    done = list(loop.train(model, batches, ALPHAS_CUMPROD, generator=generator, **options))
    return model, done


def test_every_sample_has_a_timestep_of_its_own_and_all_are_drawn():
    model, _ = record(40)
    drawn = [t for _, t in model.asked]
    assert all(len(t.unique()) > 10 for t in drawn)
    assert set(torch.cat(drawn).tolist()) == set(range(100))


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_one_step_is_adamw_on_the_loss_that_was_asked_for(prediction_type):
    weights = torch.linspace(0.5, 2, 100)
    model, [step] = record(1, prediction_type=prediction_type, weights=weights, learning_rate=0.05)
    by_hand = Recorder()
    optimizer = torch.optim.AdamW(by_hand.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(0)
    x0 = torch.full((64, 2), 0.3)
    t = torch.randint(100, (64,), generator=generator)
    loss = losses.diffusion_loss(
        by_hand,
        x0,
        t,
        torch.randn(x0.shape, generator=generator),
        ALPHAS_CUMPROD,
        prediction_type=prediction_type,
        weights=weights,
    )
    loss.backward()
    optimizer.step()
    assert step.loss == loss.item()
    assert torch.equal(model.weight, by_hand.weight)


def test_the_averaged_model_follows_the_formula_and_takes_no_gradient():
    model, done = Recorder(), []
    average, batches = model.weight.item(), [torch.full((64, 2), 0.3)] * 30
    for step in loop.train(model, batches, ALPHAS_CUMPROD, ema_decay=0.5):
        decay = min(0.5, step.step / (step.step + 10))
        average = decay * average + (1 - decay) * model.weight.item()
        assert step.ema_model.weight.item() == pytest.approx(average, rel=1e-5)
        done.append(step)
    ema_model = done[-1].ema_model
    assert not ema_model.training
    assert not ema_model.weight.requires_grad
    assert ema_model.calls == model.calls == 30
    assert not ema.ema_update([torch.ones(1)], [model.weight], 0.5)[0].requires_grad


def test_bad_arguments_of_training():
    with pytest.raises(InputError, match="decay: got 1"):
        record(1, ema_decay=1.0)
    with pytest.raises(InputError, match=r"weights: got shape \(3,\), expected \(100,\)"):
        record(1, weights=torch.ones(3))
    with pytest.raises(InputError, match="batch: got dtype torch.uint8"):
        list(loop.train(Recorder(), [torch.zeros(2, 2, dtype=torch.uint8)], ALPHAS_CUMPROD))
    with pytest.raises(InputError, match="batch: got list, expected a torch tensor"):
        list(loop.train(Recorder(), [[torch.zeros(2, 2)]], ALPHAS_CUMPROD))


@pytest.mark.parametrize("pair", [tuple, list])
def test_each_sample_comes_with_its_own_condition(pair):
    x0 = torch.arange(6.0)[:, None].expand(6, 2)
    model = Recorder()
    batches = (pair([x0[order], order]) for order in (torch.tensor([3, 0, 5]), torch.arange(2)))
    almost_clean = torch.full((10,), 1 - 1e-6)  # x_t is x0, so it tells which sample it was
    list(loop.train(model, batches, almost_clean, generator=torch.Generator().manual_seed(0)))
    assert [condition.tolist() for condition in model.conditions] == [[3, 0, 5], [0, 1]]
    for (x_t, _), condition in zip(model.asked, model.conditions, strict=True):
        assert x_t.round().tolist() == x0[condition].tolist()


def test_a_condition_changes_no_random_number():
    plain, _ = record(3)
    model = Recorder()
    batches = [(torch.full((64, 2), 0.3), torch.zeros(64))] * 3
    list(loop.train(model, batches, ALPHAS_CUMPROD, generator=torch.Generator().manual_seed(0)))
    for (x_t, t), (same_x_t, same_t) in zip(plain.asked, model.asked, strict=True):
        assert torch.equal(x_t, same_x_t)
        assert torch.equal(t, same_t)
    assert plain.conditions == []
    assert torch.equal(plain.weight, model.weight)


def test_a_unet_learns_what_its_condition_says():
    torch.manual_seed(0)
    model = unet.UNet(1, (16,), num_classes=2)
    generator = torch.Generator().manual_seed(0)
    labels = [torch.randint(2, (16,), generator=generator) for _ in range(60)]
    batches = ((2.0 * c[:, None, None, None].expand(-1, 1, 4, 4) - 1, c) for c in labels)
    options = {"prediction_type": "sample", "learning_rate": 1e-2, "ema_decay": 0.9}
    *_, last = loop.train(model, batches, ALPHAS_CUMPROD, generator=generator, **options)
    noise, t = torch.randn(2, 1, 4, 4, generator=generator), torch.full((2,), 99)
    with torch.no_grad():
        dark, light = last.ema_model(noise, t, torch.tensor([0, 1])).mean(dim=(1, 2, 3)).tolist()
    assert dark < -0.7 and light > 0.7


def test_bad_conditions_of_training():
    x0 = torch.zeros(4, 2)
    with pytest.raises(InputError, match=r"condition: got shape \(3,\), expected a tensor of 4"):
        list(loop.train(Recorder(), [(x0, torch.zeros(3))], ALPHAS_CUMPROD))
    with pytest.raises(InputError, match="condition: got list"):
        list(loop.train(Recorder(), [(x0, [0, 1, 2, 3])], ALPHAS_CUMPROD))
