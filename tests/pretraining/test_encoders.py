"""The measuring pair's training: what belongs together, honest trials, exact resume."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.pretraining.tiny import STEPS
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation import shipped_encoders as measuring
from tlab_diffusion.evaluation.networks import load_weights, save_weights
from tlab_diffusion.evaluation.recognisers import Recogniser
from tlab_diffusion.evaluation.shipped_encoders import Identity, ImageText
from tlab_diffusion.picturebook import SUBJECTS, caption
from tlab_diffusion.pipelines.latents import to_tensor
from tlab_diffusion.pretraining import characters, encoders, stage, text
from tlab_diffusion.pretraining.networks import new_vae
from tlab_diffusion.training import checkpoints

EACH = characters.SCENES_EACH
SETTINGS = {"learning_rate": 3e-3, "ema_decay": 0.9, "seed": 0, "num_characters": 4} | STEPS
IMAGE_TEXT = encoders.ImageTextConfig(batch_size=8, captions_per_scene=2, **SETTINGS)
IDENTITY = encoders.IdentityConfig(
    batch_size=4, members=2, num_reconstructed=2, reconstruction_share=0.5, **SETTINGS
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    """Two kinds of characters, and one process that draws."""
    for module in (characters, encoders):
        monkeypatch.setattr(module, "KINDS", [("cat", "red"), ("robot", "blue")])
    monkeypatch.setattr(characters, "CHUNK", 4)
    monkeypatch.setattr(characters.cached_characters, "__defaults__", (False, 64, 1))
    for name, value in {"NUM_TEST": 5, "MEMBERS": 2, "VISITS": 1}.items():
        monkeypatch.setattr(encoders, name, value)


@pytest.fixture
def world():
    scenes = characters.character_scenes(0, 4)
    return characters.draw(scenes, progress=False), scenes


def test_the_loss_is_two_cross_entropies():
    a, b = (F.normalize(torch.randn(5, 7, generator=generator(i)), dim=1) for i in range(2))
    logits = 3.0 * a @ b.T
    rows, columns = logits.log_softmax(dim=1).diag(), logits.log_softmax(dim=0).diag()
    loss = text.matching_loss(a, b, torch.tensor(3.0).log())
    torch.testing.assert_close(loss, -(rows + columns).mean() / 2)
    torch.testing.assert_close(
        text.matching_loss(a, b, torch.tensor(99.0)),
        text.matching_loss(a, b, torch.tensor(text.GREATEST_SCALE).log()),
    )


def test_pictures_come_with_their_own_captions(world):
    pictures, scenes = world
    words = encoders.wordings(scenes, 2)
    assert words.shape == (24, 2, measuring.MAX_WORDS)
    x, numbers = encoders.captioned_batches(pictures, words, IMAGE_TEXT)(generator())
    again = encoders.captioned_batches(pictures, words, IMAGE_TEXT)(generator())
    assert torch.equal(x, again[0]) and torch.equal(numbers, again[1])
    clean = to_tensor(pictures)
    for picture, row in zip(x, numbers, strict=True):
        nearest = (clean - picture).abs().mean(dim=(1, 2, 3)).argmin()
        assert any(torch.equal(row, wording.long()) for wording in words[nearest])
    told = measuring.word_numbers([caption(scenes[3], seed=2**40 + 2**32 + 3)])[0]
    assert torch.equal(words[3, 1].long(), told)


def test_pairs_are_one_character_in_two_scenes(world):
    pictures, _ = world
    clean = to_tensor(pictures)
    draw = encoders.character_batches(pictures, IDENTITY)
    for seed in range(5):
        a, b = draw(generator(seed))
        assert a.shape == b.shape == (4, 3, 64, 64)
        numbers = [
            [(clean - picture).abs().mean(dim=(1, 2, 3)).argmin().item() for picture in half]
            for half in (a, b)
        ]
        who = [[number // EACH for number in half] for half in numbers]
        assert who[0] == who[1] and len(set(who[0])) == 4
        assert all(x != y for x, y in zip(*numbers, strict=True))
        # Members of a kind stand together: they are each other's hard negatives.
        assert who[0][0] % 2 == who[0][1] % 2 != who[0][2] % 2


def test_the_first_characters_are_also_seen_as_the_autoencoder_keeps_them(world):
    pictures, _ = world
    soft = 255 - pictures[: 2 * EACH]  # stand for reconstructions
    both = to_tensor(np.concatenate([pictures, soft]))
    for share, expected in (0.0, 0), (1.0, 2 * EACH):
        config = dataclasses.replace(IDENTITY, reconstruction_share=share)
        draw, shown = encoders.character_batches(pictures, config, soft), set()
        for seed in range(40):
            halves = [
                [(both - picture).abs().mean(dim=(1, 2, 3)).argmin().item() for picture in half]
                for half in draw(generator(seed))
            ]
            shown |= {*halves[0], *halves[1]}
            who = [[number % len(pictures) // EACH for number in half] for half in halves]
            assert who[0] == who[1]
        reconstructed = {number for number in shown if number >= len(pictures)}
        assert len(reconstructed) == expected
        # Where there is a reconstruction, a share of 1 shows nothing else.
        assert share == 0 or not shown & set(range(2 * EACH))


@pytest.mark.parametrize("which", ["image_text", "identity"])
def test_training_lowers_the_loss_and_resumes_exactly(which, world, tmp_path):
    pictures, scenes = world

    def run(name, config, steps):
        torch.manual_seed(0)
        if which == "identity":
            model = encoders.IdentityLoss(Identity())
            draw = encoders.character_batches(pictures, config)
        else:
            model = encoders.ImageTextLoss(ImageText())
            draw = encoders.captioned_batches(pictures, encoders.wordings(scenes, 2), config)
        steps = itertools.islice(stage.train(model, draw, config, tmp_path / name), steps)
        return [step.loss for step in steps]

    config = IDENTITY if which == "identity" else IMAGE_TEXT
    run("straight", config, 4)
    run("killed", config, 2)
    run("killed", config, 3)  # the second step once more, then 3 and 4
    straight, killed = (checkpoints.load(tmp_path / name) for name in ("straight", "killed"))
    assert straight.keys() == killed.keys()
    assert all(torch.equal(straight[name], killed[name]) for name in straight)
    longer = dataclasses.replace(config, steps=40, warm_up_steps=5, save_every_s=1e9)
    losses = run("long", longer, 40)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])


def test_the_stage_starts_from_the_recognisers_and_writes_both(tmp_path):
    torch.manual_seed(0)
    known = Recogniser()
    save_weights(known, tmp_path / "out/recognisers.safetensors")
    trunk = Identity().trunk
    encoders._start_from_recognisers(trunk, tmp_path / "out")
    torch.testing.assert_close(trunk[0].weight, known.trunk[0].weight, rtol=1e-3, atol=1e-4)
    args = (tmp_path, IMAGE_TEXT, IDENTITY)
    vae = new_vae((8, 8, 8))
    encoders.pretrain_encoders(*args, resume=False, out=tmp_path / "out", vae=vae)
    load_weights(ImageText(), tmp_path / "out/image_text.safetensors")
    load_weights(Identity(), tmp_path / "out/identity.safetensors")
    logs = {
        name: [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("image_text", "identity")
    }
    assert "own_caption_first_of_5" in logs["image_text"][-1]
    assert logs["identity"][-1].keys() >= {
        "subjects_known",
        "members_taken_for_subjects",
        "known_when_reconstructed",
        *SUBJECTS,
    }
    with pytest.raises(InputError, match="an earlier run.*--resume"):
        encoders.pretrain_encoders(*args, resume=False, out=tmp_path / "out")
    # A run that goes on sees the same reconstructions, whatever became of the autoencoder.
    before = (tmp_path / f"odd-reconstructions-{2 * EACH}.npy").read_bytes()
    longer = dataclasses.replace(IDENTITY, steps=6)
    args = (tmp_path, IMAGE_TEXT, longer)
    encoders.pretrain_encoders(*args, resume=True, out=tmp_path / "out", vae=new_vae((8, 8, 8)))
    assert (tmp_path / f"odd-reconstructions-{2 * EACH}.npy").read_bytes() == before


def test_a_group_needs_its_members(tmp_path):
    few = dataclasses.replace(IDENTITY, members=3)
    with pytest.raises(InputError, match="num_characters: got 4, expected 6 or more"):
        encoders.pretrain_identity(tmp_path, few, resume=False, out=tmp_path)


def test_retrieval_of_known_features(monkeypatch):
    images = torch.eye(3)
    texts = torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [0, 0, 1.0]])  # the second is like the first
    monkeypatch.setattr(measuring, "image_features", lambda pictures, model: images)
    monkeypatch.setattr(measuring, "text_features", lambda captions, model: texts)
    shares = encoders.retrieval(None, None, ["a", "b", "c"])
    assert shares == {"own_caption_first_of_3": 1.0, "own_picture_first_of_3": 0.6667}


def test_a_subject_is_known_among_references_and_members(monkeypatch):
    def rows(*angles):
        angles = torch.tensor(angles, dtype=torch.float32).deg2rad()
        return torch.stack([angles.cos(), angles.sin()], dim=1)

    # Directions: the first subject is at 0 degrees, the second at 90; members lie beside them.
    trial = {
        "pip": {"references": rows(0, 5), "scenes": rows(1, 40), "members": rows(30, 200)},
        "mochi": {"references": rows(90), "scenes": rows(80), "members": rows(92, 270)},
    }
    monkeypatch.setattr(measuring, "identity_features", lambda pictures, model: pictures)
    known = encoders.known_subjects(None, trial)
    # At 40 degrees pip looks like its class; 30 is nearer to pip than to its fellow member.
    assert known["pip"] == 0.5 and known["mochi"] == 1.0 and known["subjects_known"] == 0.75
    # 30 and 92 are taken for subjects; 200 is nearer to 90 than to 0 and 30: for mochi, not pip;
    # 270 is nearest to its own subject's... the first one at 0: for pip, not mochi.
    assert known["members_taken_for_subjects"] == 0.5


def test_the_trial_shows_every_subject():
    trial = encoders.subject_trial(2, 3)
    assert trial.keys() == SUBJECTS.keys()
    for parts in trial.values():
        assert [len(parts[kind]) for kind in ("references", "scenes", "members")] == [5, 2, 3]
