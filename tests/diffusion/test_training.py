"""The training loop learns a mixture well enough to sample it; EMA is the formula."""

import itertools

import pytest
import torch
from torch import nn

from tlab_diffusion.diffusion import losses, schedules, training, unet
from tlab_diffusion.diffusion.mixture import GaussianMixture
from tlab_diffusion.errors import InputError

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
    yield from training.train(model, batches, ALPHAS_CUMPROD, generator=generator)


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
        list(training.train(PointModel(), batches, ALPHAS_CUMPROD))


def test_ema_by_hand_and_in_the_long_run():
    ema, params = [torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 6.0])]
    torch.testing.assert_close(training.ema_update(ema, params, 0.75)[0], torch.tensor([1.5, 3.0]))
    assert ema[0].tolist() == [1.0, 2.0]
    for _ in range(200):
        ema = training.ema_update(ema, params, 0.9)
    torch.testing.assert_close(ema[0], params[0])


def test_unet_keeps_the_shape_starts_at_zero_and_hears_the_time():
    model = unet.UNet(3, (16, 32))
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(model(x, torch.tensor([0, 5])), torch.zeros_like(x))
    nn.init.normal_(model.leave.weight)
    early, late = (model(x, torch.full((2,), t)) for t in (0, 900))
    assert early.shape == x.shape
    assert not torch.allclose(early, late)
    with pytest.raises(InputError, match="sides that divide by 2"):
        model(torch.randn(1, 3, 15, 16), torch.tensor([0]))
    with pytest.raises(InputError, match="multiples of 8"):
        unet.UNet(3, (12,))


def test_every_parameter_of_the_unet_learns():
    torch.manual_seed(0)
    model = unet.UNet(3, (16, 32))
    nn.init.normal_(model.leave.weight)
    model(torch.randn(2, 3, 8, 8), torch.tensor([1, 60])).square().mean().backward()
    silent = [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max()
    ]
    assert silent == []
