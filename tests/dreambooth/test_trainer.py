"""The trainer: the textbook's step, exact resume, one result however the work is split."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline
from diffusers.training_utils import compute_snr
from safetensors.torch import load_file
from torch import nn

from tests.dreambooth.tiny import PICTURES, model_folder, new_config, run, state_of
from tlab_diffusion.dreambooth.checkpoint import resume as checkpoint
from tlab_diffusion.dreambooth.data.batches import SAMPLE, picture_at
from tlab_diffusion.dreambooth.methods import METHODS, TEXTUAL_INVERSION
from tlab_diffusion.dreambooth.training.trainer import (
    Finished,
    Loaded,
    PriorImages,
    TrainStep,
    train,
)
from tlab_diffusion.errors import InputError
from tlab_diffusion.training.generators import generator_for

ROOT = Path(__file__).resolve().parents[2]
# Clipping forgives a gradient of the wrong length: so small a weight that nothing is clipped.
UNCLIPPED = 1e-4
RATE = 3e-4  # of every method where two ways to the same sums are compared: both are as exact


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Class pictures and latents are drawn once for the whole file."""
    return tmp_path_factory.mktemp("cache")


def fresh(folder):
    return DiffusionPipeline.from_pretrained(folder)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def textbook_step(config, cache):
    """One step as the paper and diffusers' own functions say; the loss's terms and the U-Net."""
    pipeline = fresh(config.model)
    scheduler, unet, B = pipeline.scheduler, pipeline.unet, config.batch_size
    files = list((cache / "class_images").rglob("*.safetensors"))
    pixels = torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float() / 127.5 - 1
    ids = pipeline.tokenizer(
        ["a sks robot", "a robot"], padding="max_length", return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        words = pipeline.text_encoder(ids)[0]
        encoded = pipeline.vae.encode(pixels).latent_dist
    terms = []
    for half in range(2 if config.prior_loss_weight else 1):
        prior = load_file(files[0])["latents"] if half else None
        x0, ts, noises = [], [], []
        for place in range(B):
            generator = generator_for(config.seed, SAMPLE, 1, half * B + place)
            ts.append(torch.randint(1000, (), generator=generator))
            noises.append(torch.randn(4, 16, 16, generator=generator))
            number = picture_at(place, len(prior) if half else 3, config.seed, half)
            if half:
                x0.append(prior[number])
                continue
            latents = encoded.mean[number] + encoded.std[number] * torch.randn(
                4, 16, 16, generator=generator
            )
            x0.append(latents * pipeline.vae.config.scaling_factor)
        x0, t, noise = torch.stack(x0), torch.stack(ts), torch.stack(noises)
        pred = unet(scheduler.add_noise(x0, noise, t), t, words[half].expand(B, -1, -1)).sample
        v = scheduler.config.prediction_type == "v_prediction"
        target = scheduler.get_velocity(x0, noise, t) if v else noise
        if config.snr_gamma is None:
            terms.append(F.mse_loss(pred, target))
            continue
        snr = compute_snr(scheduler, t)
        weights = snr.clamp(max=config.snr_gamma) / (snr + 1 if v else snr)
        each = F.mse_loss(pred, target, reduction="none").mean(dim=(1, 2, 3))
        terms.append((weights * each).mean())
    if config.prior_loss_weight:
        terms[1] = config.prior_loss_weight * terms[1]
    optimizer = torch.optim.AdamW(unet.parameters(), config.learning_rate, eps=config.adam_epsilon)
    sum(terms).backward()
    nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
    optimizer.step()
    return [term.item() for term in terms], unet


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 2},
        {"batch_size": 2, "prior_loss_weight": 0.0},
        {"batch_size": 2, "prior_loss_weight": 0.3},
        {"batch_size": 1, "snr_gamma": 5.0},
        {"batch_size": 4, "snr_gamma": 0.5},
    ],
)
def test_a_step_is_the_textbooks(tmp_path, prediction_type, changes):
    config = new_config(
        tmp_path / "out",
        model=str(model_folder(prediction_type)),
        max_steps=1,
        train_text_encoder=False,
        # Near epsilon a gradient's rounding counts 1 / epsilon times as much.
        adam_epsilon=1e-4,
        **changes,
    )
    [step] = run(config, tmp_path / "cache")
    terms, unet = textbook_step(config, tmp_path / "cache")
    expected = terms[0], terms[1] if len(terms) > 1 else 0.0
    assert (step.subject_loss, step.prior_loss) == pytest.approx(expected, rel=1e-5)
    for name, value in unet.state_dict().items():
        got = step.pipeline.unet.state_dict()[name]
        torch.testing.assert_close(got, value, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_killed_run_goes_on_exactly(tmp_path, cache, method, ema_decay):
    # Killed after step 3: in the middle of an epoch (3 pictures, 2 a step), a step past the save.
    # The step of the checkpoint is yielded once more.
    straight, killed = (
        new_config(tmp_path / name, method=method, ema_decay=ema_decay)
        for name in ("straight", "killed")
    )
    whole = run(straight, cache)
    run(killed, cache, steps=3)
    assert int(state_of(killed)["step"]) == 2
    torch.manual_seed(123)  # whatever else draws random numbers is of no concern
    rest = run(killed, cache, resume=True)
    assert [event[:3] for event in rest] == [event[:3] for event in whole[1:]]
    before, after = state_of(straight), state_of(killed)
    assert equal(before, after)
    assert any(name.startswith("optimizer.") for name in before)
    assert any(name.startswith("ema.") for name in before) == (ema_decay > 0)


@pytest.mark.parametrize("method", METHODS)
def test_the_random_numbers_of_others_are_left_alone(tmp_path, cache, method):
    before = torch.get_rng_state()
    run(new_config(tmp_path / "out", method=method, max_steps=2), cache)
    assert torch.equal(torch.get_rng_state(), before)


def test_more_steps_can_be_asked_for_later(tmp_path, cache):
    run(new_config(tmp_path / "out", max_steps=3), cache)
    more = run(new_config(tmp_path / "out", max_steps=5), cache, resume=True)
    run(new_config(tmp_path / "straight", max_steps=5), cache)
    assert [event.step for event in more] == [3, 4, 5]
    assert equal(
        state_of(new_config(tmp_path / "out")), state_of(new_config(tmp_path / "straight"))
    )


@pytest.mark.parametrize(
    ("size", "changes"),
    [
        (1, {"gradient_accumulation_steps": 2}),  # one pass for the subject, one for the class
        (2, {"gradient_accumulation_steps": 2}),
        (2, {"gradient_accumulation_steps": 3}),  # parts of different sizes
        (2, {"gradient_accumulation_steps": 4, "gradient_checkpointing": True}),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_a_step_worked_through_in_parts_is_the_same_step(tmp_path, cache, method, size, changes):
    settings = {"batch_size": size, "snr_gamma": UNCLIPPED}
    settings |= {"method": method, "learning_rate": RATE}
    if method == TEXTUAL_INVERSION:
        settings["batch_size"] *= 2  # instead of the class pictures
    else:
        settings["prior_loss_weight"] = 0.5
    one = new_config(tmp_path / "one", **settings)
    parts = new_config(tmp_path / "parts", **settings | changes)
    losses = [[event[:3] for event in run(config, cache)] for config in (one, parts)]
    for a, b in zip(*losses, strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    same_result(state_of(one), state_of(parts))


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_get_the_result_of_one(tmp_path, cache, method):
    settings = {"batch_size": 3, "max_steps": 3, "snr_gamma": UNCLIPPED}
    settings |= {"method": method, "learning_rate": RATE}
    one, two = (new_config(tmp_path / name, **settings) for name in ("one", "two"))
    run(one, cache)
    script = tmp_path / "program.py"
    script.write_text(
        "import sys, pathlib\n"
        "from accelerate import PartialState\n"
        "from tests.dreambooth.tiny import new_config, run\n"
        "output, cache, model = map(pathlib.Path, sys.argv[1:])\n"
        f"run(new_config(output, model=str(model), **{settings}), cache)\n"
        "print(PartialState().num_processes)\n"
    )
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = [str(script), str(two.output), str(cache), one.model]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *launch, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "".join(done.stdout.split()) == "22"  # both knew of each other
    same_result(state_of(one), state_of(two))
    assert (two.output / "model_index.json").is_file()


def same_result(a, b):
    assert a.keys() == b.keys()
    weights = [name for name in a if name.startswith("model.")]
    assert weights
    for name in weights:
        # Sums in another order: the bound of design section 8.
        torch.testing.assert_close(b[name], a[name], rtol=1e-5, atol=1e-5, msg=name)
    lengths = [
        torch.cat([each[name].flatten() for name in a if name.endswith("exp_avg")]).norm().item()
        for each in (a, b)
    ]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-4)
    assert lengths[0] < 0.01  # a clipped step alone leaves 0.1


@pytest.mark.parametrize("train_text_encoder", [False, True])
def test_what_learns_moves_and_the_rest_stays(tmp_path, cache, train_text_encoder):
    config = new_config(tmp_path / "out", train_text_encoder=train_text_encoder)
    run(config, cache)
    before, after = fresh(config.model), fresh(config.output)
    assert equal(before.vae.state_dict(), after.vae.state_dict())
    assert equal(before.text_encoder.state_dict(), after.text_encoder.state_dict()) != (
        train_text_encoder
    )
    still = [
        name
        for name, value in before.unet.state_dict().items()
        if torch.equal(value, after.unet.state_dict()[name])
    ]
    assert still == []


def test_without_prior_weight_there_is_no_class(tmp_path):
    config = new_config(tmp_path / "out", prior_loss_weight=0.0, num_class_images=0, max_steps=1)
    events = list(train(config, PICTURES, cache=tmp_path / "cache"))
    assert [type(event) for event in events] == [Loaded, TrainStep, Finished]
    assert events[1].prior_loss == 0.0
    assert not (tmp_path / "cache/class_images").exists()


def test_the_events_of_a_run(tmp_path):
    config = new_config(tmp_path / "out", max_steps=2)
    events = list(train(config, PICTURES, cache=tmp_path / "cache"))
    assert isinstance(events[0], Loaded)
    assert events[1:3] == [PriorImages(0, 4), PriorImages(4, 4)]
    assert [event.step for event in events[3:5]] == [1, 2]
    assert events[5][:2] == (2, config.output) and isinstance(events[5], Finished)
    assert events[5].pipeline is events[4].pipeline


def test_the_caller_may_write_the_folder(tmp_path, cache):
    config = new_config(tmp_path / "out", max_steps=2)
    *_, last = train(config, PICTURES, cache=cache, write=False)
    assert not (config.output / "model_index.json").exists()
    assert checkpoint.steps_done(config.output) == 2
    last.pipeline.save_pretrained(tmp_path / "own")
    list(train(config, PICTURES, cache=cache, resume=True))
    assert equal(fresh(tmp_path / "own").unet.state_dict(), fresh(config.output).unet.state_dict())


def test_the_average_is_the_result(tmp_path, cache):
    plain, averaged = (
        new_config(tmp_path / str(decay), ema_decay=decay, max_steps=3) for decay in (0.0, 0.15)
    )
    ema = fresh(plain.model).unet.conv_in.weight.detach()
    for event in train(plain, PICTURES, cache=cache):
        if isinstance(event, TrainStep):
            decay = min(0.15, event.step / (event.step + 10))
            ema = decay * ema + (1 - decay) * event.pipeline.unet.conv_in.weight.detach()
    *_, last = run(averaged, cache)
    for pipeline in (last.pipeline, fresh(averaged.output)):
        torch.testing.assert_close(pipeline.unet.conv_in.weight.detach(), ema)


def test_a_nan_stops_the_run_and_keeps_the_last_checkpoint(tmp_path, cache):
    config = new_config(tmp_path / "out")
    with pytest.raises(InputError, match="loss: got nan at step 4"):
        for event in train(config, PICTURES, cache=cache):
            if isinstance(event, TrainStep) and event.step == 3:
                event.pipeline.unet.conv_out.bias.data.fill_(float("nan"))
    state = state_of(config)
    assert int(state["step"]) == 2
    assert all(bool(value.isfinite().all()) for value in state.values())
    assert not (config.output / "model_index.json").exists()


def test_a_gradient_that_is_no_number_moves_nothing(tmp_path, cache):
    config = new_config(tmp_path / "out", checkpoint_every=1)
    with pytest.raises(InputError, match="gradient: got nan at step 3"):
        for event in train(config, PICTURES, cache=cache):
            if isinstance(event, TrainStep) and event.step == 2:
                event.pipeline.unet.conv_in.weight.register_hook(lambda g: g * float("nan"))
    assert all(bool(value.isfinite().all()) for value in state_of(config).values())


def test_bad_input_is_refused_before_a_model_is_loaded(tmp_path, monkeypatch):
    from tlab_diffusion.dreambooth.training import trainer

    monkeypatch.setattr(trainer, "load", lambda *_: pytest.fail("a model was loaded"))
    config = new_config(tmp_path / "out")
    for pictures in (PICTURES[:0], PICTURES / 255, PICTURES[:, :32], None):
        with pytest.raises(InputError, match="pictures"):
            train(config, pictures)
    with pytest.raises(InputError, match="which is not there"):
        train(new_config(tmp_path / "out", model="nowhere", resolution=64), PICTURES)
    with pytest.raises(InputError, match="precision: got fp16 on cpu"):
        train(new_config(tmp_path / "out", precision="fp16"), PICTURES)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/letter.txt").write_text("Dear")
    with pytest.raises(InputError, match="output.*other files"):
        train(config, PICTURES)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "letter.txt"]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"class_prompt": "the robot"},
        {"class_guidance_scale": 2.0},
        {"precision": "bf16"},
    ],
)
def test_class_pictures_are_those_of_the_settings(tmp_path, change):
    for name, changes in {"one": {}, "other": change}.items():
        events = train(new_config(tmp_path / name, **changes), PICTURES, cache=tmp_path / "cache")
        assert list(itertools.islice(events, 3))[1:] == [PriorImages(0, 4), PriorImages(4, 4)]
        events.close()
    assert len(list((tmp_path / "cache/class_images").iterdir())) == 2
