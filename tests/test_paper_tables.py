"""The paper's experiments, with a tiny model: shared, stopped, gone on with, collected."""

import json

import numpy as np
import pytest

from benchmarks import paper_tables
from benchmarks.paper_methods import (
    NAMELESS,
    STEPS,
    WAYS,
    WRONG_NOUNS,
    asked,
    class_of,
    config_of,
)
from tests.dreambooth.tiny import model_folder
from tlab_diffusion.course.stored import METHODS, load_settings, load_sheet, load_tables
from tlab_diffusion.dreambooth import presets
from tlab_diffusion.dreambooth.presets import DREAMBOOTH
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.measure import SampleCounts
from tlab_diffusion.picturebook import CLASSES, SUBJECTS
from tlab_diffusion.pipelines.sampler_settings import MEASURING

COUNTS = SampleCounts(per_prompt=1, per_class=2, batch=12)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command on the tiny model, which draws noise; the pictures are few and quick."""
    monkeypatch.setattr(paper_tables, "COUNTS", COUNTS)
    quick = paper_tables.fast_sampler
    monkeypatch.setattr(
        paper_tables, "fast_sampler", lambda pipe: quick(pipe, MEASURING.override(steps=1))
    )

    def run(*options):
        settings = ["--work", tmp_path / "work", "--results", tmp_path / "results"]
        model = ["--model", model_folder(), "--steps", 1]
        paper_tables.main([str(each) for each in [*settings, *model, *options]])
        return tmp_path / "work", tmp_path / "results"

    return run


def test_each_way_differs_from_the_default_in_one_thing(tmp_path):
    settings = {"model": str(model_folder()), "output": tmp_path, "steps": 7}
    default = config_of("pip", "dreambooth", **settings).as_dict()

    def changed(method):
        other = config_of("pip", method, **settings).as_dict()
        return {name: value for name, value in other.items() if value != default[name]}

    assert changed("dreambooth") == {}
    assert changed("without_prior") == {"prior_loss_weight": 0.0}
    assert changed("no_noun") == {"instance_prompt": "a zwx"}
    assert changed("wrong_noun") == {
        "class_noun": "fish",
        "instance_prompt": "a zwx fish",
        "class_prompt": "a fish",
    }
    assert changed("lora")["method"] == "lora"
    assert changed("textual_inversion")["method"] == "textual-inversion"
    assert default["max_steps"] == default["checkpoint_every"] == 7


def test_the_stored_results_are_of_these_ways_to_learn():
    stored = load_settings()["training"]
    assert set(stored) == set(WAYS)
    for way, changes in WAYS.items():
        assert changes.items() <= stored[way].items()
        if stored[way]["method"] == DREAMBOOTH:
            assert stored[way]["max_steps"] == STEPS


def test_every_model_is_asked_in_its_words_and_judged_by_the_same():
    told = {"wrong_noun": "fish"} | dict.fromkeys(NAMELESS, "")
    right = asked("pip", "dreambooth")
    assert len(right) == 10
    for method in METHODS:
        noun = told.get(method, "robot")
        for one, other in zip(asked("pip", method), right, strict=True):
            assert f"zwx {noun}".strip() in one.text and (noun == "robot") == ("robot" in one.text)
            assert (one.plain, one.expected) == (other.plain, other.expected)
            assert "robot" in one.plain and "zwx" not in one.plain


def test_wrong_nouns_are_wrong():
    nouns = {class_of(name) for name in SUBJECTS}
    assert set(WRONG_NOUNS) == nouns
    # Of the ten, so that their class pictures are there already.
    assert all(
        wrong in nouns & set(CLASSES) and wrong != noun for noun, wrong in WRONG_NOUNS.items()
    )


def test_two_parts_do_all_and_what_was_stopped_goes_on(run, capsys, monkeypatch):
    work, results = run("--subjects", "pip", "--part", "1/2")
    first = {file.stem for file in (work / "cells").iterdir()}
    assert first == {"pip-dreambooth", "pip-textual_inversion", "pip-wrong_noun", "pip-original"}
    assert not any((work / "runs").iterdir())  # the models are gone
    with pytest.raises(InputError, match="a subject that every method has learned"):
        run("--collect")

    trained = []
    train = paper_tables.train
    monkeypatch.setattr(
        paper_tables,
        "train",
        lambda config, *a, **k: trained.append(config.output.name) or train(config, *a, **k),
    )
    kept = (work / "cells" / "pip-dreambooth.npz").read_bytes()
    capsys.readouterr()
    run("--subjects", "pip")  # alone, after the other part was lost
    assert trained == ["pip-without_prior", "pip-lora", "pip-no_noun"]
    assert (work / "cells" / "pip-dreambooth.npz").read_bytes() == kept
    lines = capsys.readouterr().out.splitlines()
    assert "(1 of 3), about 0 minutes to go" in lines[0]

    run("--collect")
    tables, settings, sheet = load_tables(results), load_settings(results), load_sheet(results)
    assert list(tables) == list(METHODS)
    assert {each.subject for results in tables.values() for each in results} == {"pip"}
    assert tables["original"][0].counts["per_class"] == COUNTS.per_class
    steps = {way: training["max_steps"] for way, training in settings["training"].items()}
    assert steps == dict.fromkeys(WAYS, 1)
    assert settings["wrong_nouns"] == {"pip": "fish"}
    assert sheet.captions["pip"][:1] == ["a [V] robot on the moon"]
    assert sheet.captions["pip"][-1] == "a robot"


def test_every_picture_finds_its_place_in_the_sheet(run, tmp_path):
    work, results = tmp_path / "work", tmp_path / "results"
    run("--subjects", "pip", "--methods", "original")
    for number, method in enumerate(METHODS):
        for subject, red in (("pip", 0), ("mochi", 255)):
            samples, of_class = np.zeros((10, 64, 64, 3), np.uint8), np.zeros((2, 64, 64, 3), "u1")
            for pictures in samples, of_class:
                pictures[..., 0], pictures[..., 1] = red, 30 * number
            blues = {place: 40 * column for column, place in enumerate(paper_tables.SHOWN_PROMPTS)}
            for place in range(10):
                samples[place, ..., 2] = blues.get(place, 255)
            of_class[0, ..., 2], of_class[1, ..., 2] = 160, 200
            file = paper_tables.cell_file(work, (subject, method))
            np.savez(file, of_prompts=samples, of_class=of_class, seconds=np.array([60.0, 60.0]))
    run("--collect")
    assert load_settings(results)["minutes"] == 2 * 2 * len(METHODS)
    sheet = load_sheet(results)
    assert {name: len(texts) for name, texts in sheet.captions.items()} == {"pip": 6, "mochi": 6}
    for number, method in enumerate(METHODS):
        for subject, red in (("pip", 0), ("mochi", 255)):
            means = sheet.pictures[subject][method][:, 16:48, 16:48].mean(axis=(1, 2))
            wanted = [(red, 30 * number, 40 * column) for column in range(6)]
            assert np.abs(means - wanted).max() < 12  # what WebP loses


def test_other_settings_need_another_folder(run, monkeypatch):
    work, _ = run("--subjects", "pip", "--methods", "original")
    kept = json.loads((work / "settings.json").read_text())
    run("--subjects", "pip", "--methods", "original")  # the same: nothing to do
    with monkeypatch.context() as changed, pytest.raises(InputError, match="of the same model"):
        changed.setitem(presets.SMALL_ALL, "adam_epsilon", 1e-3)
        run("--subjects", "pip", "--methods", "original")
    with pytest.raises(InputError, match="work: got .* expected a folder of the same model"):
        run("--subjects", "pip", "--methods", "original", "--steps", 2)
    assert json.loads((work / "settings.json").read_text()) == kept
