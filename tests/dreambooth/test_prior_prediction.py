"""Prior prediction: the class half is held to what the original model predicts."""

import pytest
import torch
from diffusers import DiffusionPipeline

from tests.dreambooth.tiny import model_folder, new_config, run, state_of
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.data.batches import Batch
from tlab_diffusion.dreambooth.families import family_of
from tlab_diffusion.dreambooth.presets import PAPER, PREDICTION
from tlab_diffusion.dreambooth.training.step import with_prior_prediction
from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines import embed, load

METHODS = ("dreambooth", "lora")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Class pictures and latents are drawn once for the whole file."""
    return tmp_path_factory.mktemp("cache")


def predicting(output, **changes):
    return new_config(output, **{"prior": PREDICTION, "batch_size": 1} | changes)


def batch_of(config, samples=2):
    """The first half is of the subject, the second of its class."""
    draw = torch.Generator().manual_seed(0)
    is_class = torch.arange(samples) * 2 // samples
    return Batch(
        torch.randn(samples, 4, 16, 16, generator=draw),
        torch.randint(1000, (samples,), generator=draw),
        torch.randn(samples, 4, 16, 16, generator=draw),
        is_class * (len(config.instance_prompts) + 1),
        is_class,
        torch.ones(samples),
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_target_of_the_class_is_the_frozen_models_prediction(tmp_path, method, prediction_type):
    config = predicting(tmp_path, method=method, model=str(model_folder(prediction_type)))
    pipeline = load(config.model)
    family = family_of(pipeline)
    original = family.original(pipeline, config)
    model = family.prepare(pipeline, config)
    with torch.no_grad():  # training moves all that learns
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(
                    parameter.shape, generator=torch.Generator().manual_seed(1)
                )
    batch = batch_of(config, 4)
    target = with_prior_prediction(batch, original, "fp32").target
    fresh = DiffusionPipeline.from_pretrained(config.model)
    words = embed(fresh, [config.prompts[number] for number in batch.prompt])
    with torch.no_grad():
        expected = fresh.unet(batch.x_t, batch.t, words).sample
        moved = model(batch.x_t, batch.t, batch.prompt)
    torch.testing.assert_close(target[2:], expected[2:], rtol=1e-5, atol=1e-5)
    assert torch.equal(target[:2], batch.target[:2]) and not target.requires_grad
    assert not torch.allclose(moved[2:], expected[2:], atol=1e-2)


def test_a_part_without_the_class_stays_as_it_is(tmp_path):
    config = predicting(tmp_path)
    batch = batch_of(config)
    part = Batch(*(each[:1] for each in batch))
    assert with_prior_prediction(part, None, "fp32") is part


@pytest.mark.parametrize("method", METHODS)
def test_before_the_first_step_there_is_nothing_to_hold(tmp_path, cache, method):
    config = predicting(tmp_path, method=method, max_steps=2, learning_rate=1e-30)
    steps = run(config, cache)
    paper = run(new_config(tmp_path / "paper", batch_size=1, max_steps=1, method=method), cache)
    assert all(step.prior_loss < 1e-10 < step.subject_loss for step in steps)
    assert paper[0].prior_loss > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_the_original_never_changes(tmp_path, method):
    config = predicting(tmp_path, method=method)
    pipeline = load(config.model)
    family = family_of(pipeline)
    original = family.original(pipeline, config)
    batch = batch_of(config)
    before = with_prior_prediction(batch, original, "fp32").target
    model = family.prepare(pipeline, config).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        model(batch.x_t, batch.t, batch.prompt).square().mean().backward()
        optimizer.step()
    after = with_prior_prediction(batch, original, "fp32").target
    # LoRA's is the same network, whose attention `prepare` computes in another way.
    torch.testing.assert_close(after, before, rtol=0, atol=0 if method == "dreambooth" else 1e-5)
    assert not torch.equal(before, batch.target)


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_goes_on_exactly(tmp_path, cache, method):
    straight, killed = (predicting(tmp_path / name, method=method) for name in ("a", "b"))
    run(straight, cache)
    run(killed, cache, steps=3)
    run(killed, cache, resume=True)
    one, other = state_of(straight), state_of(killed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_parts_give_the_step_of_the_whole_batch(tmp_path, cache):
    whole, parts = (
        predicting(tmp_path / str(n), batch_size=2, max_steps=2, gradient_accumulation_steps=n)
        for n in (1, 4)
    )
    losses = [
        [(step.subject_loss, step.prior_loss) for step in run(each, cache)]
        for each in (whole, parts)
    ]
    assert losses[0][1] == pytest.approx(losses[1][1], rel=1e-4)
    assert losses[0][1][1] > 0


def test_half_precision_holds(tmp_path, cache):
    config = predicting(tmp_path, max_steps=2, precision="bf16")
    first, second = run(config, cache)
    assert first.prior_loss < 1e-3 and second.prior_loss > 0


def test_class_pictures_take_a_set_of_prompts_in_turn(tmp_path):
    config = predicting(tmp_path)
    assert config.class_guidance_scale == 1 and len(config.class_prompts) > 20
    bare = [prompt == "a robot" for prompt in config.class_prompts]
    with_noun = ["robot" in prompt for prompt in config.class_prompts]
    assert bare[::4] == [True] * (len(bare) // 4) and sum(bare) >= len(bare) // 4
    assert sum(with_noun) == 3 * len(bare) // 4
    assert config.prompts == (*config.instance_prompts, *config.class_prompts)


def test_a_prompt_of_ones_own_stands_alone(tmp_path):
    config = predicting(tmp_path, class_prompt="one robot")
    assert config.class_prompts == ("one robot",)
    paper = new_config(tmp_path, prior=PAPER)
    assert (paper.class_prompts, paper.class_guidance_scale) == (("a robot",), 2.5)
    assert not paper.predicts_prior
    assert not predicting(tmp_path, prior_loss_weight=0).predicts_prior


def test_large_models_get_plain_words(tmp_path):
    config = DreamBoothConfig(
        subject_images=tmp_path,
        identifier="dog",  # a word of another class
        class_noun="cat",
        output=tmp_path,
        model="nobody/nothing",
        prior=PREDICTION,
    )
    assert "a cat in the snow" in config.class_prompts and "a tree" in config.class_prompts
    assert not any("dog" in prompt for prompt in config.class_prompts)
    assert config.class_prompts.count("a cat") == 10  # the bare class, and never another class


def test_another_prior_is_refused(tmp_path):
    with pytest.raises(InputError, match="prior: got 'none', expected one of paper, prediction"):
        new_config(tmp_path, prior="none")
