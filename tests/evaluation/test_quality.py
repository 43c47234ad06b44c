"""The quality report: an oracle judges samplers whose faults are known."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation import prompts, quality
from tlab_diffusion.evaluation.encoders import shipped_encoders
from tlab_diffusion.evaluation.quality import ReportCounts
from tlab_diffusion.evaluation.recognisers import Recogniser
from tlab_diffusion.evaluation.shipped_encoders import ImageText
from tlab_diffusion.picturebook import FACTORS, parse, render, scene_from_caption
from tlab_diffusion.picturebook.heldout import HELD_OUT_COLOUR, is_held_out_combination
from tlab_diffusion.pretraining.networks import new_vae

COUNTS = ReportCounts(judged=6, compared=20, per_class=4, batch=3)


class World:
    """Draws what captions say, always the same way; it can tell what it drew."""

    def __init__(self, **mistakes):
        self.mistakes, self.truth, self.calls = mistakes, {}, 0

    def __call__(self, captions, seed):
        self.calls += 1
        scenes = [scene_from_caption(text, seed + i) for i, text in enumerate(captions)]
        return self.draw([dataclasses.replace(scene, **self.mistakes) for scene in scenes])

    def draw(self, scenes):
        pictures = np.stack([render(scene) for scene in scenes])
        for picture, scene in zip(pictures, scenes, strict=True):
            self.truth[picture.tobytes()] = scene.visible_factors()
        return pictures

    def recognise(self, pictures, model):
        """What pictures show; those that the world did not draw show nothing."""
        seen = [self.truth.get(picture.tobytes(), {}) for picture in pictures]
        return {name: [each.get(name) for each in seen] for name in FACTORS}


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    networks = {"recogniser": Recogniser().eval(), "image_text": ImageText().eval()}
    return new_vae((8, 8, 8)), networks


@pytest.fixture
def report_of(parts, tmp_path, monkeypatch):
    vae, networks = parts

    def measure(world):
        monkeypatch.setattr(quality, "recognise", world.recognise)
        monkeypatch.setattr(quality, "render_scenes", world.draw)
        return quality.quality(world, vae, tmp_path, COUNTS, **networks)

    return measure


def test_a_faultless_sampler_and_one_that_draws_all_in_red(report_of, tmp_path):
    report = report_of(World())
    for kind in prompts.KINDS:
        assert set(report[kind]["accuracy"].values()) == {1.0}
    assert report["real"]["scenes"]["colour"] == 1.0
    assert report["real"]["reconstructions"]["colour"] == 0.0  # the oracle has not drawn them
    assert report["entropy_shares"]["colour"]["robot"] > 0.3
    for file in tmp_path.iterdir():
        file.unlink()
    red = report_of(World(colour="red"))
    scenes = prompts.unseen_scenes("seen", COUNTS.judged)
    share = sum(scene.colour == "red" for scene in scenes) / len(scenes)
    assert red["seen"]["accuracy"]["colour"] == pytest.approx(share, abs=1e-3)
    assert set(red["entropy_shares"]["colour"].values()) == {0.0}
    assert red["entropy_shares"]["pattern"] == report["entropy_shares"]["pattern"]


def test_a_report_can_be_stopped_read_and_written(report_of, tmp_path):
    world = World()
    report = report_of(world)
    calls = world.calls
    assert report_of(world) == report and world.calls == calls  # nothing is sampled again
    one = sorted(tmp_path.glob("a-robot-*.npy"))[0]
    one.unlink()
    assert report_of(world) == report and world.calls == calls + 1
    quality.write(report, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == report
    text = quality.table(report)
    assert "samples, triples" in text and "PSNR of subjects" in text
    assert len(text.splitlines()) < 20 and all(len(line) < 130 for line in text.splitlines())


def test_the_kinds_of_captions():
    for scene in prompts.unseen_scenes("seen", 30):
        assert not is_held_out_combination(vars(scene))
    for scene in prompts.unseen_scenes("pairs", 30):
        assert HELD_OUT_COLOUR[scene.class_noun] == scene.colour
    for scene in prompts.unseen_scenes("triples", 30):
        assert is_held_out_combination(vars(scene))
        assert HELD_OUT_COLOUR[scene.class_noun] != scene.colour
    for kind in prompts.KINDS:
        scenes = prompts.unseen_scenes(kind, 30)
        assert scenes[:10] == prompts.unseen_scenes(kind, 10)
        assert len({scene.class_noun for scene in scenes}) > 7
        for scene in scenes:
            visible = {k: v for k, v in scene.visible_factors().items() if v}
            assert parse(prompts.full_caption(scene)).factors == visible


def test_more_pictures_begin_with_the_same_ones(tmp_path):
    world = World()
    few = quality.sampled("x", ["a cat"] * 3, 7, world, tmp_path / "a", 3)
    more = quality.sampled("x", ["a cat"] * 6, 7, world, tmp_path / "b", 3)
    assert np.array_equal(more[:3], few) and not np.array_equal(more[3:], few)


def test_a_picture_for_each_caption(tmp_path):
    with pytest.raises(InputError, match="sample: got 1 pictures, expected 2"):
        quality.sampled("x", ["a cat"] * 2, 0, lambda p, s: World()(p[:1], s), tmp_path, 2)


def test_missing_weights_are_one_clear_line(monkeypatch, tmp_path):
    from tlab_diffusion.evaluation import recognisers

    monkeypatch.setattr(recognisers, "FILE", tmp_path / "nothing")
    recognisers.recogniser.cache_clear()
    with pytest.raises(InputError, match="weights: got no file"):
        shipped_encoders()
