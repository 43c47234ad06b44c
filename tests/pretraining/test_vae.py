"""The autoencoder's recipe: exact resume, a loss that teaches, and honest measures."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from tlab_diffusion.cli import main
from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import random_scene, render
from tlab_diffusion.pretraining import checkpoints, pictures, vae, vae_stage

PAGE = render(random_scene(0), 64)
TINY = vae.VaeConfig(channels=(8, 8, 8), batch_size=2, warm_up_steps=1, save_every_s=0.0)


@pytest.fixture(scope="module")
def scenes():
    return np.stack([render(random_scene(seed), 64) for seed in range(6)])


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def run(scenes, folder, steps):
    *_, last = itertools.islice(vae.train_vae(scenes, TINY, folder), steps)
    return last


def test_a_killed_run_goes_on_exactly(scenes, tmp_path):
    straight = run(scenes, tmp_path / "straight", 6)
    run(scenes, tmp_path / "killed", 4)
    resumed = run(scenes, tmp_path / "killed", 2)
    assert (resumed.step, resumed.loss) == (straight.step, straight.loss)
    assert torch.equal(parameters(resumed.ema_vae), parameters(straight.ema_vae))
    states = [checkpoints.load(tmp_path / name / vae.STATE_FILE) for name in ("straight", "killed")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(name.startswith("optimizer.") for name in states[0])


def test_training_lowers_the_error(scenes, tmp_path):
    before = vae_stage.reconstruction_psnr(vae.new_vae(TINY.channels), scenes)
    config = dataclasses.replace(TINY, save_every_s=1e9, learning_rate=5e-3)
    *_, last = itertools.islice(vae.train_vae(scenes, config, tmp_path), 120)
    assert vae_stage.reconstruction_psnr(last.ema_vae, scenes) > before + 3


def test_the_loss_sees_edges_and_the_size_of_latents(scenes):
    torch.manual_seed(0)
    model, x = vae.new_vae(TINY.channels), pictures.to_tensor(scenes)
    noise = torch.zeros(len(x), 4, 16, 16)

    def loss(**weights):
        config = vae.VaeConfig(**({"gradient_weight": 0.0, "kl_weight": 0.0} | weights))
        return vae.vae_loss(model, x, noise, config).item()

    posterior = model.encode(x).latent_dist
    error = x - model.decode(posterior.mean).sample
    assert loss() == pytest.approx(error.abs().mean().item(), rel=1e-5)
    edges = sum(error.diff(dim=d).abs().mean().item() for d in (2, 3))
    assert loss(gradient_weight=2.0) - loss() == pytest.approx(2 * edges, rel=1e-4)
    kl = (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean().item() / 2
    assert loss(kl_weight=1.0) - loss() == pytest.approx(kl, rel=1e-4)


def test_psnr_by_hand():
    a = torch.zeros(2, 3, 4, 4)
    b = torch.stack([torch.full((3, 4, 4), 0.2), torch.full((3, 4, 4), 0.02)])
    torch.testing.assert_close(pictures.psnr(a, b), torch.tensor([20.0, 40.0]))


def test_scenes_are_drawn_once(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "CHUNK", 4)
    first = pictures.cached_scenes(tmp_path, 6, processes=1)
    assert np.array_equal(first[5], render(random_scene(5), 64))
    monkeypatch.setattr(pictures, "draw_scenes", None)  # a second drawing would fail
    assert np.array_equal(pictures.cached_scenes(tmp_path, 6), first)


def test_a_damaged_or_missing_checkpoint_is_one_clear_line(scenes, tmp_path):
    with pytest.raises(InputError, match="no file"):
        checkpoints.load(tmp_path / "nothing.safetensors")
    run(scenes, tmp_path, 1)
    path = tmp_path / vae.STATE_FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read.*Delete it"):
        next(vae.train_vae(scenes, TINY, tmp_path))


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    checkpoints.save(path, {"x": torch.ones(3)})

    def killed(tensors, draft):
        draft.write_bytes(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(path, {"x": torch.zeros(3)})
    assert torch.equal(checkpoints.load(path)["x"], torch.ones(3))


def test_the_stage_writes_a_model_that_diffusers_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(vae_stage, "unseen_pictures", lambda: {"scenes": np.stack([PAGE] * 2)})
    monkeypatch.setattr(pictures, "CHUNK", 4)
    config = dataclasses.replace(TINY, num_scenes=4, steps=3, measure_every=2)
    vae_stage.pretrain_vae(tmp_path, config, resume=False)
    log = [json.loads(line) for line in (tmp_path / "vae-log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in log] == [2, 3]
    loaded = AutoencoderKL.from_pretrained(tmp_path / "vae")
    weights = load_file(tmp_path / "vae/diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}
    # Scaled, the latents have a standard deviation of 1, which is what a U-Net is trained on.
    scale = loaded.config.scaling_factor
    std = vae_stage.latent_std(loaded.float(), np.stack([PAGE] * 2))
    assert scale * std == pytest.approx(1, rel=0.01)

    with pytest.raises(InputError, match="an earlier run.*--resume"):
        vae_stage.pretrain_vae(tmp_path, config, resume=False)
    longer = dataclasses.replace(config, steps=5)
    vae_stage.pretrain_vae(tmp_path, longer, resume=True)
    assert '"step": 5' in (tmp_path / "vae-log.jsonl").read_text()


def test_the_command_refuses_what_it_cannot_do(tmp_path, capsys):
    assert main(["pretrain", "unicorn"]) == 2
    assert "got 'unicorn', expected 'vae'" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["pretrain", "vae", "--work", str(tmp_path / "file")]) == 2
    assert "expected a folder" in capsys.readouterr().err
    (tmp_path / vae.STATE_FILE).touch()
    assert main(["pretrain", "vae", "--work", str(tmp_path)]) == 2
    assert "Go on from it with --resume" in capsys.readouterr().err


def test_only_a_rename_touches_the_old_checkpoint(tmp_path, monkeypatch):
    # A rename is one step for the file system, so a kill comes before it or after it.
    path = tmp_path / "state.safetensors"
    checkpoints.save(path, {"x": torch.ones(3)})

    def killed(draft, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(path, {"x": torch.zeros(3)})
    assert torch.equal(checkpoints.load(path)["x"], torch.ones(3))
