"""The recognisers' training: the right labels, changes that change none of them, exact resume."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch

from tests.pretraining.tiny import STEPS, scenes
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.networks import load_weights
from tlab_diffusion.evaluation.recognisers import ANSWERS, NOTHING, Recogniser, split_heads
from tlab_diffusion.picturebook import random_scene
from tlab_diffusion.pipelines.latents import to_tensor
from tlab_diffusion.pretraining import augment, characters, pictures, recognisers, stage
from tlab_diffusion.pretraining.networks import new_vae
from tlab_diffusion.training import checkpoints

CONFIG = recognisers.RecogniserConfig(
    batch_size=8,
    learning_rate=3e-3,
    ema_decay=0.9,
    seed=0,
    num_scenes=6,
    num_characters=2,
    num_reconstructions=4,
    reconstruction_share=0.25,
    **STEPS,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def small_world(monkeypatch):
    monkeypatch.setattr(pictures, "CHUNK", 6)
    monkeypatch.setattr(characters, "CHUNK", 2)
    monkeypatch.setattr(recognisers, "NUM_TEST", 4)
    # One process draws: starting more takes longer than the pictures.
    monkeypatch.setattr(pictures.draw_scenes, "__defaults__", (64, 1, False))
    monkeypatch.setattr(characters.cached_characters, "__defaults__", (False, 64, 1))


def test_the_loss_is_a_sum_of_cross_entropies_over_what_is_shown():
    torch.manual_seed(0)
    model = recognisers.RecogniserLoss(Recogniser())
    x = to_tensor(scenes())
    truth = [random_scene(seed) for seed in range(6)]
    labels = recognisers.labels_for(truth)
    loss = model(x, labels).item()
    expected = 0.0
    for number, (name, logits) in enumerate(split_heads(model.network(x)).items()):
        values = [scene.visible_factors().get(name, "hidden") for scene in truth]
        shown = [i for i, value in enumerate(values) if value != "hidden"]
        right = [ANSWERS[name].index(values[i]) for i in shown]
        expected -= logits.log_softmax(dim=1)[shown, right].mean().item()
        hidden = [i for i in range(6) if i not in shown]
        assert labels[hidden, number].eq(NOTHING).all()
    assert loss == pytest.approx(expected, rel=1e-4)
    assert any(scene.view == "back" for scene in truth)


def test_training_teaches_every_factor(tmp_path):
    x = scenes(24)
    truth = [random_scene(seed) for seed in range(24)]
    config = dataclasses.replace(CONFIG, steps=60, batch_size=24, warm_up_steps=5, save_every_s=1e9)
    model = recognisers.RecogniserLoss(Recogniser())
    draw = recognisers.labelled_batches(x, recognisers.labels_for(truth), config)
    *_, last = stage.train(model, draw, config, tmp_path / "state")
    shares = recognisers.shares(last.ema_model.network, x, truth)
    assert shares.keys() == ANSWERS.keys()
    assert min(shares.values()) > 0.7


def test_batches_follow_from_the_generator_and_keep_their_labels():
    x, labels = scenes(), torch.arange(6)[:, None].repeat(1, 8)
    soft = np.full((2, 64, 64, 3), 77, np.uint8)
    draw = recognisers.labelled_batches(x, labels, CONFIG, soft)
    first, again, other = draw(generator()), draw(generator()), draw(generator(1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    batch, own = first
    assert batch.shape == (8, 3, 64, 64) and own.shape == (8, 8)
    clean = to_tensor(x)
    for picture, label in zip(batch[:6], own[:6, 0], strict=True):
        distance = (clean - picture).abs().mean(dim=(1, 2, 3))
        assert distance.argmin() == label
    torch.testing.assert_close(batch[6:], to_tensor(soft)[[0, 0]])  # a quarter, as it came
    assert own[6:].max() < 2


def test_a_killed_run_goes_on_exactly(tmp_path):
    def run(name, steps):
        torch.manual_seed(0)
        model = recognisers.RecogniserLoss(Recogniser())
        labels = recognisers.labels_for(random_scene(seed) for seed in range(6))
        draw = recognisers.labelled_batches(scenes(), labels, CONFIG)
        list(itertools.islice(stage.train(model, draw, CONFIG, tmp_path / name), steps))

    run("straight", 4)
    run("killed", 2)
    run("killed", 3)  # the second step once more, then 3 and 4
    straight, killed = (checkpoints.load(tmp_path / name) for name in ("straight", "killed"))
    assert straight.keys() == killed.keys()
    assert all(torch.equal(straight[name], killed[name]) for name in straight)
    assert any(name.endswith("running_var") for name in straight)


def test_the_stage_trains_measures_and_writes(tmp_path, small_world):
    torch.manual_seed(0)
    vae, out = new_vae((8, 8, 8)), tmp_path / "weights"
    recognisers.pretrain_recognisers(tmp_path, CONFIG, resume=False, out=out, vae=vae)
    lines = (tmp_path / "recognisers.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["step"] for record in records] == [2, 4]
    for part in ("scenes", "held_out", "reconstructions"):
        assert records[-1][part].keys() <= ANSWERS.keys() and "colour" in records[-1][part]
    assert (tmp_path / "reconstructions-4.npy").exists()
    load_weights(Recogniser(), out / recognisers.FILE)
    with pytest.raises(InputError, match="an earlier run.*--resume"):
        recognisers.pretrain_recognisers(tmp_path, CONFIG, resume=False, out=out)
    longer = dataclasses.replace(CONFIG, steps=5)
    recognisers.pretrain_recognisers(tmp_path, longer, resume=True, out=out, vae=vae)
    assert int(checkpoints.load(tmp_path / "recognisers-state.safetensors")["step"]) == 5


def test_characters_are_met_again_and_drawn_once(tmp_path, small_world, monkeypatch):
    each = characters.SCENES_EACH
    world = characters.character_scenes(0, 3)
    for start in range(0, len(world), each):
        mine = world[start : start + each]
        for factor in ("class_noun", "colour", "pattern", "shape"):
            assert len({getattr(scene, factor) for scene in mine}) == 1
        assert len({(scene.place, scene.setting, scene.x) for scene in mine}) == each
    same = [characters.character_scene(5 + i * len(characters.KINDS), 0) for i in range(9)]
    assert len({(scene.class_noun, scene.colour) for scene in same}) == 1
    assert len({scene.shape for scene in same}) == 9
    first = characters.cached_characters(tmp_path, 3)
    assert np.array_equal(first, characters.draw(world, progress=False))
    monkeypatch.setattr(characters, "draw", None)  # a second drawing would fail
    assert np.array_equal(characters.cached_characters(tmp_path, 3), first)


def test_most_characters_have_oddities_where_they_are_asked_for(tmp_path, small_world):
    each = characters.SCENES_EACH
    plain, odd = (characters.character_scenes(0, 200, oddities) for oddities in (False, True))
    assert [dataclasses.replace(scene, oddity=None) for scene in odd] == plain
    seeds = [{scene.oddity for scene in odd[i : i + each]} for i in range(0, len(odd), each)]
    assert all(len(own) == 1 for own in seeds)  # a character has the same in all its scenes
    own = [seed for (seed,) in seeds if seed is not None]
    assert len(set(own)) == len(own)
    assert len(own) / 200 == pytest.approx(characters.ODD_SHARE, abs=0.1)
    drawn = characters.cached_characters(tmp_path, 2, oddities=True)
    assert np.array_equal(drawn, characters.draw(odd[: 2 * each], progress=False))
    # The plain ones are kept apart from them.
    drawn = characters.cached_characters(tmp_path, 2)
    assert np.array_equal(drawn, characters.draw(plain[: 2 * each], progress=False))


def test_many_processes_draw_the_same():
    world = characters.character_scenes(0, 1)
    alone = characters.draw(world, processes=1, progress=False)
    assert np.array_equal(characters.draw(world, processes=2, progress=False), alone)


def test_shifts_move_pictures_and_repeat_their_rims():
    x = scenes(2)
    moved = augment.shifted(x, torch.tensor([1, 0, 1]), 2, generator())
    clean, found = to_tensor(x), set()
    for picture, number in zip(moved, (1, 0, 1), strict=True):
        for dy, dx in itertools.product(range(-2, 3), repeat=2):
            rolled = clean[number].roll((-dy, -dx), (1, 2))[:, 2:-2, 2:-2]
            if torch.equal(picture[:, 2:-2, 2:-2], rolled):
                found.add((number, dy, dx))
    assert len(found) >= 3
    assert torch.equal(augment.shifted(x, torch.tensor([0]), 0, generator())[0], clean[0])


def test_other_changes_keep_to_their_share_and_range():
    x = to_tensor(scenes(6)).repeat(20, 1, 1, 1)
    soft = augment.softened(x, 0.4, generator())
    changed = [not torch.equal(a, b) for a, b in zip(x, soft, strict=True)]
    assert 0.2 < sum(changed) / len(x) < 0.6
    assert soft.diff(dim=2).abs().mean() < x.diff(dim=2).abs().mean()
    flat = torch.full((4, 3, 8, 8), 0.3)
    torch.testing.assert_close(augment.softened(flat, 1.0, generator()), flat)
    cut = augment.cut_out(x, 0.5, 12, generator())
    grey = [(a != b).any().item() for a, b in zip(x, cut, strict=True)]
    assert 0.3 < sum(grey) / len(x) < 0.7
    assert cut[cut != x].eq(0).all()
    tinted = augment.recoloured(x, 0.1, generator())
    assert tinted.abs().max() <= 1 and 0.01 < (tinted - x).abs().mean() < 0.2
    noise = augment.noisy(torch.zeros(50, 3, 16, 16), 0.1, generator())
    assert 0 < noise.flatten(1).std(dim=1).min() < noise.flatten(1).std(dim=1).max() < 0.12
