"""The benchmarks of the trainer: what they count, drive and time."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks import dreambooth_speed, gpu, operations, rival, stable_diffusion_size
from benchmarks.turns import Training
from tests.dreambooth.tiny import model_folder, new_config
from tlab_diffusion.diffusion.process import q_sample
from tlab_diffusion.dreambooth.cache import prior
from tlab_diffusion.dreambooth.data.batches import TrainingSet
from tlab_diffusion.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
# As diffusers' script asks for random numbers and moves, for one picture of each kind.
SCRIPT = """
import argparse, pathlib
import numpy as np, torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, StableDiffusionPipeline
from PIL import Image

def parse_args(arguments):
    parser = argparse.ArgumentParser()
    for name in ("pretrained_model_name_or_path", "instance_data_dir", "class_data_dir",
                 "instance_prompt", "class_prompt", "output_dir", "mixed_precision"):
        parser.add_argument("--" + name)
    for name in ("resolution", "train_batch_size", "max_train_steps", "checkpointing_steps",
                 "seed", "num_class_images"):
        parser.add_argument("--" + name, type=int)
    for name in ("learning_rate", "adam_epsilon", "prior_loss_weight"):
        parser.add_argument("--" + name, type=float)
    for name in ("with_prior_preservation", "pre_compute_text_embeddings"):
        parser.add_argument("--" + name, action="store_true")
    return parser.parse_args(arguments)

def pixels(folder):
    [file] = pathlib.Path(folder).iterdir()
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 127.5 - 1

def main(args):
    assert args.report_to is None
    halves = 2 if args.with_prior_preservation else 1
    accelerator = Accelerator()
    pipeline = StableDiffusionPipeline.from_pretrained(args.pretrained_model_name_or_path)
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    optimizer = accelerator.prepare(torch.optim.AdamW(
        pipeline.unet.parameters(), args.learning_rate, eps=args.adam_epsilon))
    x = torch.stack([pixels(f) for f in (args.instance_data_dir, args.class_data_dir)[:halves]])
    ids = pipeline.tokenizer([args.instance_prompt, args.class_prompt][:halves],
                             padding="max_length", return_tensors="pt").input_ids
    for step in range(args.max_train_steps):
        with torch.no_grad():
            x0 = pipeline.vae.encode(x).latent_dist.sample() * pipeline.vae.config.scaling_factor
            words = pipeline.text_encoder(ids)[0]
        noise = torch.randn_like(x0)
        t = torch.randint(0, 1000, (halves,))
        pred = pipeline.unet(scheduler.add_noise(x0, noise, t), t, words).sample
        loss = ((pred - noise) ** 2).mean(dim=(1, 2, 3))
        loss = loss[0] + (args.prior_loss_weight * loss[1] if halves == 2 else 0)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(pipeline.unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "train_dreambooth.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


@pytest.mark.parametrize("with_prior", [False, True])
def test_both_lose_the_same_with_the_same_draws(tmp_path, script, with_prior, capsys, monkeypatch):
    # Later steps of random weights blow up the rounding of the first ones.
    monkeypatch.setattr(dreambooth_speed, "COMPARED", 2)
    options = SimpleNamespace(model=str(model_folder()), script=script)
    assert dreambooth_speed.compare_losses(options, tmp_path / "right", with_prior)
    assert "at most" in capsys.readouterr().out
    script.write_text(SCRIPT.replace("noise, t)", "noise, t // 2)"), encoding="utf-8")
    assert not dreambooth_speed.compare_losses(options, tmp_path / "wrong", with_prior)


def test_a_script_that_is_not_there_is_refused_with_its_address(tmp_path):
    with pytest.raises(InputError, match="raw.githubusercontent.com/huggingface/diffusers/v"):
        rival.load_script(tmp_path / "nothing.py")
    (tmp_path / "needs.py").write_text("import a_package_that_nobody_has", encoding="utf-8")
    with pytest.raises(InputError, match="a_package_that_nobody_has"):
        rival.load_script(tmp_path / "needs.py")


@pytest.mark.parametrize("prior_weight", [0.0, 1.0])
def test_the_script_is_given_what_our_trainer_draws(tmp_path, prior_weight):
    config = new_config(tmp_path, max_steps=2, prior_loss_weight=prior_weight)
    alphas_cumprod = torch.linspace(0.99, 0.01, 1000)
    subject, classes = torch.randn(1, 8, 16, 16), torch.randn(1, 4, 16, 16)
    data = TrainingSet(
        config, subject, classes if prior_weight else None, alphas_cumprod, "epsilon"
    )
    draws = rival.our_draws(config, (4, 16, 16), 1000)
    mean, std = subject[0].chunk(2)
    for step in (1, 2):
        batch = data.batch(step, range(data.samples_per_step))
        added, noise, t = next(draws), next(draws), next(draws)
        means = torch.stack([mean, mean, classes[0], classes[0]][: data.samples_per_step])
        assert torch.equal(t, batch.t)
        assert torch.equal(noise, batch.target)
        assert torch.equal(q_sample(means + std * added, t, noise, alphas_cumprod), batch.x_t)
    assert next(draws, None) is None


def test_the_counted_gain():
    counted = operations.Operations(unet=80, vae=15, text=5)
    gains = [case.predicted(counted) for case in dreambooth_speed.CASES]
    assert gains == [100 / 80, 95 / 80] * 2


def test_operations_are_counted():
    counted = operations.count(str(model_folder()))
    forward = gpu.forward_flops(model_folder())
    # Backward costs twice the forward pass, but for what no weight asks for at the first layer.
    assert 2.9 * forward < counted.unet <= 3 * forward
    assert 0 < counted.text < counted.vae < counted.unet


def sleeping_training() -> None:
    """Its steps take 20 ms on the clock, and nearly nothing of a processor."""
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], 0.1)
    for number in range(1000):
        print("step", number, flush=True)
        time.sleep(0.02)
        optimizer.step()


def failing_training() -> None:
    raise RuntimeError("a picture is missing")


def test_a_training_goes_on_only_when_it_has_the_turn(tmp_path):
    log = tmp_path / "log"
    with Training(sleeping_training, log) as training:
        for turn in (1, 2):
            steps = training.steps(3)
            assert len(steps) == 3
            assert all(step.clock >= 0.02 and step.processor < 0.01 for step in steps)
            time.sleep(0.1)  # long enough for five more
            assert len(log.read_text().splitlines()) in (3 * turn + 1, 3 * turn + 2)


def test_a_training_that_fails_says_why(tmp_path):
    with (
        Training(failing_training, tmp_path / "log") as training,
        pytest.raises(RuntimeError, match="a picture is missing"),
    ):
        training.steps(1)


def test_a_gpu_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "BATCHES", (1,))
    monkeypatch.setattr(gpu, "CLASS_IMAGES", 4)
    monkeypatch.setattr(prior, "DRAWN_AT_ONCE", 2)
    file = tmp_path / "report.json"
    assert gpu.main(["--model", str(model_folder()), "--steps", "1", "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    assert report["flops_per_image"] == 3 * gpu.forward_flops(model_folder())
    ceiling = report["matrix_product_flops"] / report["flops_per_image"]
    settings = [(row["batch"], row["gradient_checkpointing"]) for row in report["rows"]]
    assert settings == [(1, False), (1, True)]
    for row in report["rows"]:
        images = 2 * row["batch"] * row["steps_per_second"]
        assert row["images_per_second"] == pytest.approx(images)
        assert row["share_of_ceiling"] == pytest.approx(images / ceiling)
    shares = [each["share"] for each in report["costliest"]]
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)
    assert report["device"] in capsys.readouterr().out


def test_a_setting_that_does_not_fit_is_named(tmp_path, monkeypatch):
    def no_room(*_, **__):
        raise torch.OutOfMemoryError("no room")

    trials = gpu.Trials(model_folder(), tmp_path, "fp32")
    monkeypatch.setattr(gpu, "train", no_room)
    row = trials.row(1, True, steps=1, ceiling=1.0)
    assert row == {"batch": 1, "gradient_checkpointing": True, "problem": "no room"}


def test_stable_diffusions_sizes():
    parts = {
        "unet": stable_diffusion_size.new_unet,
        "vae": stable_diffusion_size.new_vae,
        "text_encoder": stable_diffusion_size.new_text_encoder,
    }
    with torch.device("meta"):
        found = {n: sum(p.numel() for p in new().parameters()) for n, new in parts.items()}
    assert found == stable_diffusion_size.PARAMETERS
    assert found == {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}


def test_a_vocabulary_of_clips_size():
    tokenizer = stable_diffusion_size.new_tokenizer()
    assert len(tokenizer) == len(tokenizer.get_vocab()) == 49_408
    assert tokenizer.tokenize("a sks robot") == ["a</w>", "s", "ks</w>", "ro", "bot</w>"]
    assert tokenizer("a", padding="max_length").input_ids[:3] == [49_406, 320, 49_407]


def test_what_a_command_took_is_measured(tmp_path):
    code = "import sys; x = bytearray(2**30); sys.exit(3)"
    run = (
        "import sys; from pathlib import Path; from benchmarks import stable_diffusion_size\n"
        f"sys.exit(stable_diffusion_size.run('a GiB', ['-c', {code!r}], Path({str(tmp_path)!r})))"
    )
    # In a process of its own: this one may hold more than a GiB, which would count.
    done = subprocess.run([sys.executable, "-c", run], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "at most 1.0 GiB" in done.stdout
