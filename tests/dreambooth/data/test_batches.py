"""What is random in a step: the same for each sample, wherever and whenever it is computed."""

import dataclasses

import pytest
import torch
from diffusers.training_utils import compute_snr

from tests.dreambooth.tiny import new_config
from tlab_diffusion.dreambooth.data.batches import (
    CLASS_IMAGE,
    ORDER,
    SAMPLE,
    TrainingSet,
    picture_at,
)
from tlab_diffusion.dreambooth.families.stable_diffusion import DiscreteNoising
from tlab_diffusion.pretraining.networks import new_scheduler
from tlab_diffusion.training.generators import generator_for

SCHEDULER = new_scheduler()


def new_set(output, *, prediction_type="epsilon", **changes):
    draw = torch.Generator().manual_seed(0)
    mean, std = torch.randn(3, 4, 2, 2, generator=draw), torch.rand(3, 4, 2, 2, generator=draw)
    config = new_config(output, **changes)
    prior = torch.randn(5, 4, 2, 2, generator=draw) if config.with_prior else None
    subject = torch.cat([mean, std], dim=1)
    noising = DiscreteNoising(SCHEDULER.alphas_cumprod, prediction_type, config.snr_gamma)
    return TrainingSet(config, subject, prior, noising)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_sample_is_the_same_in_every_part(tmp_path):
    data = new_set(tmp_path, batch_size=3, snr_gamma=5.0)
    whole = data.batch(7, range(6))
    for part in (range(0, 6, 2), range(5, 6), range(3)):
        assert same(data.batch(7, part), [each[list(part)] for each in whole])
    assert whole.prompt.tolist() == whole.is_class.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_sample_has_one_of_several_prompts(tmp_path):
    data = new_set(tmp_path, batch_size=3, method="textual-inversion")
    asked = torch.cat([data.batch(step, range(3)).prompt for step in range(1, 101)])
    num = len(data.config.instance_prompts)
    counts = asked.bincount(minlength=num)
    # 300 draws of 1 in 2: 150 +- 8.7 each; five of these.
    assert len(counts) == num == 2 and ((counts - 150).abs() < 44).all()
    assert data.batch(1, range(3)).is_class.tolist() == [0, 0, 0]


def test_samples_steps_and_seeds_differ(tmp_path):
    data = new_set(tmp_path, batch_size=2)
    other = dataclasses.replace(data, config=new_config(tmp_path, batch_size=2, seed=1))
    targets = [each.batch(step, range(4)).target for each in (data, other) for step in (1, 2)]
    flat = torch.cat(targets).flatten(1)
    assert len(flat.unique(dim=0)) == len(flat) == 16


def test_every_picture_comes_once_an_epoch():
    for half in (0, 1):
        order = [picture_at(position, 4, 3, half) for position in range(400)]
        epochs = [tuple(order[i : i + 4]) for i in range(0, 400, 4)]
        assert all(sorted(epoch) == [0, 1, 2, 3] for epoch in epochs)
        assert len(set(epochs)) == 24  # of 4! orders; one is missed once in 1600 tries


def test_the_encoders_distribution_is_drawn_from_anew(tmp_path):
    # The target is the noise, so x0 can be read back from x_t.
    data = new_set(tmp_path, batch_size=1, prior_loss_weight=0.0)
    drawn = {0: [], 1: [], 2: []}
    for step in range(1, 1501):
        batch = data.batch(step, range(1))
        alpha_bar = data.noising.alphas_cumprod[batch.t].double().reshape(-1, 1, 1, 1)
        x0 = (batch.x_t - (1 - alpha_bar).sqrt() * batch.target) / alpha_bar.sqrt()
        drawn[picture_at(step - 1, 3, 0, 0)].append(x0[0])
    for number, samples in drawn.items():
        mean, std = data.subject[number].double().chunk(2)
        samples = torch.stack(samples)
        # 500 draws: the mean is known to std / 22, the deviation to std / 31; five of these.
        assert ((samples.mean(dim=0) - mean).abs() <= 5 * std / 22 + 1e-3).all()
        assert ((samples.std(dim=0) - std).abs() <= 5 * std / 31 + 1e-3).all()


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("size", [1, 4])
def test_each_sample_has_the_min_snr_weight_of_its_own_timestep(tmp_path, prediction_type, size):
    data = new_set(
        tmp_path,
        prediction_type=prediction_type,
        batch_size=size,
        prior_loss_weight=0.5,
        snr_gamma=2.0,
    )
    batch = data.batch(1, range(2 * size))
    snr = compute_snr(SCHEDULER, batch.t).double()
    weights = snr.clamp(max=2.0) / (snr if prediction_type == "epsilon" else snr + 1)
    halves = torch.tensor([1.0] * size + [0.5] * size) / size
    torch.testing.assert_close(batch.weights.double(), halves * weights, rtol=1e-4, atol=0)


def test_timesteps_cover_the_schedule_evenly(tmp_path):
    data = new_set(tmp_path, batch_size=50)
    t = torch.cat([data.batch(step, range(100)).t for step in range(1, 11)])
    assert t.min() < 20 and t.max() > 980
    # Mean and deviation of 1000 uniform draws: 499.5 +- 9, 288.7 +- 4; four of these.
    assert abs(t.double().mean() - 499.5) < 37
    assert abs(t.double().std() - 288.7) < 17


def test_streams_do_not_meet():
    numbers = [(ORDER, half, epoch) for half in (0, 1) for epoch in (0, 1)]
    numbers += [(SAMPLE, step, number) for step in (1, 2) for number in (0, 1)]
    numbers += [(CLASS_IMAGE, number) for number in (0, 1)]
    drawn = {float(torch.rand((), generator=generator_for(s, *n))) for n in numbers for s in (0, 1)}
    assert len(drawn) == 20
    first, again = (torch.randn(5, generator=generator_for(3, SAMPLE, 1, 0)) for _ in range(2))
    assert torch.equal(first, again)
