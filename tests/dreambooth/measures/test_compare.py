"""`tlab evaluate`: a tuned model beside its base."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.dreambooth.hub_cache import keep_in_cache
from tests.dreambooth.standin import hashed_sample, pixel_encoders, point
from tests.dreambooth.tiny import model_folder
from tlab_diffusion.cli import main
from tlab_diffusion.dreambooth.families import family_of
from tlab_diffusion.dreambooth.measures import compare as module
from tlab_diffusion.dreambooth.measures import evaluator
from tlab_diffusion.dreambooth.measures.compare import Evaluation, evaluate
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation import world
from tlab_diffusion.evaluation.hub_encoders import suitable_encoders
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.picturebook import subject_pictures
from tlab_diffusion.pipelines import load
from tlab_diffusion.pipelines.sampler_settings import MEASURING_SMALL, write_sampler_settings


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, picture in enumerate(subject_pictures("pip")[:3]):
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A folder with other weights than the original's."""
    folder = tmp_path_factory.mktemp("tuned")
    pipeline = load(model_folder())
    pipeline.unet.conv_out.bias.data += 0.5
    pipeline.save_pretrained(folder)
    return folder


def with_record(tuned, tmp_path, weights=None, **settings):
    """A copy of a tuned folder with the record of a run."""
    folder = shutil.copytree(tuned, tmp_path / "run")
    record = {"settings": settings, "fingerprint": {"weights": weights}}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(evaluator, "fast_sampler", hashed_sample)
    monkeypatch.setattr(world, "suitable_encoders", pixel_encoders)


@pytest.fixture
def command(tuned, pictures):
    def run(*options, model=tuned, images=pictures, identifier="zwx", base=None):
        names = ["--identifier", identifier, "--class-noun", "robot"]
        folders = ["--model", f"{model}", "--subject-images", f"{images}"]
        return main(["evaluate", *folders, *names, "--base", f"{base or model_folder()}", *options])

    return run


def test_both_models_are_measured_from_the_same_noise(tuned, pictures, tmp_path):
    found = evaluate(tuned, pictures, "zwx", "robot", model_folder(), num=2, cache=tmp_path)
    asked = {"prompts": 10, "per_prompt": 2, "per_class": 50, "per_leak": 20}
    assert found.tuned.counts == asked | {"batch": 32}
    assert found.tuned.counts == found.original.counts
    assert found.tuned != found.original
    same = evaluate(model_folder(), pictures, "zwx", "robot", model_folder(), num=2, cache=tmp_path)
    assert same.tuned == same.original == found.original
    assert found.encoders == "a few pixels"


def test_all_uses_on_request(tuned, pictures, tmp_path):
    found = evaluate(
        tuned, pictures, "zwx", "robot", model_folder(), num=1, full=True, cache=tmp_path
    )
    assert found.tuned.counts["prompts"] == 60


def test_textual_inversion_is_asked_without_the_noun(tuned, pictures, tmp_path, monkeypatch):
    asked = []

    def noted(pipeline, *arguments, **options):
        draw = hashed_sample(pipeline, *arguments, **options)
        return lambda texts, seed: asked.extend(texts) or draw(texts, seed)

    monkeypatch.setattr(evaluator, "fast_sampler", noted)
    folder = with_record(tuned, tmp_path, method="textual-inversion")
    evaluate(folder, pictures, "zwx", "robot", model_folder(), num=1, cache=tmp_path)
    texts = {text for text in asked if "zwx" in text}
    assert texts and not any("robot" in text for text in texts)
    assert "a robot" in asked  # the class is still the class


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A base that is neither the picture book nor the usual tiny model."""
    folder = tmp_path_factory.mktemp("other")
    pipeline = load(model_folder())
    pipeline.unet.conv_out.bias.data -= 0.5
    pipeline.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("method", ["dreambooth", "lora", "textual-inversion"])
def test_the_base_is_the_one_of_the_run(tuned, other, pictures, tmp_path, method):
    pipeline = load(other)
    weights = family_of(pipeline).fingerprint(pipeline)
    folder = with_record(tuned, tmp_path, weights, model=f"{other}", method=method)
    about = pictures, "zwx", "robot"
    found = evaluate(folder, *about, num=1, cache=tmp_path)
    assert found.original == evaluate(folder, *about, other, num=1, cache=tmp_path).original
    assert found.original != evaluate(folder, *about, model_folder(), num=1).original
    assert found.base == f"{other}, from run.json"


def test_without_a_record_the_base_is_the_picture_book_and_that_is_said(
    tuned, larger, pictures, monkeypatch
):
    loaded = []
    monkeypatch.setattr(module, "load", lambda name: loaded.append(name) or load(model_folder()))
    found = evaluate(tuned, pictures, "zwx", "robot", num=1)
    assert loaded == ["picturebook", tuned]
    assert found.base.startswith("picturebook, because") and found.base in str(found)
    with pytest.raises(InputError, match="base: got picturebook, which draws 64 .*with --base"):
        evaluate(larger, pictures, "zwx", "robot", num=1)


@pytest.mark.parametrize(
    ("record", "got"),
    [
        ('{"settings": {"model": "moved/away"}}', "moved/away, from .*run.json, which is not on"),
        ('{"settings": {}}', "None, from .*run.json"),
        ('{"settings"', ".*run.json, which is damaged"),
    ],
)
def test_a_base_that_cannot_be_found_is_one_line(
    tuned, pictures, tmp_path, monkeypatch, record, got
):
    monkeypatch.setattr(module, "load", None)
    folder = with_record(tuned, tmp_path)
    (folder / "run.json").write_text(record)
    with pytest.raises(InputError, match=f"^base: got {got}.*--base") as error:
        evaluate(folder, pictures, "zwx", "robot", num=1)
    assert "\n" not in str(error.value)


def test_a_base_with_other_weights_than_at_the_run_is_refused(tuned, other, pictures, tmp_path):
    folder = with_record(tuned, tmp_path, "of before", model=f"{other}")
    with pytest.raises(InputError, match="base: got .*whose weights are not those"):
        evaluate(folder, pictures, "zwx", "robot", num=1)
    assert evaluate(folder, pictures, "zwx", "robot", other, num=1).base == f"{other}"


def test_both_models_draw_with_the_settings_that_the_tuned_folder_records(
    tuned, pictures, tmp_path, monkeypatch
):
    used = []

    def noted(pipeline, settings, **options):
        used.append(settings)
        return hashed_sample(pipeline, **options)

    monkeypatch.setattr(evaluator, "fast_sampler", noted)
    recorded = MEASURING_SMALL.override(solver="ddim", steps=7)
    folder = with_record(tuned, tmp_path, model=f"{model_folder()}")
    write_sampler_settings(folder, recorded)
    found = evaluate(folder, pictures, "zwx", "robot", num=1)
    assert used == [recorded, recorded] and found.sampler == recorded
    evaluate(tuned, pictures, "zwx", "robot", model_folder(), num=1)
    assert used[2:] == [MEASURING_SMALL, MEASURING_SMALL]


def test_the_command_says_it_in_a_table_and_in_words(command, tmp_path, capsys):
    file = tmp_path / "numbers.json"
    assert command("--num", "1", "--json", f"{file}") == 0
    said = capsys.readouterr()
    assert "pip: 10 prompts x 1 pictures, 50 of the class" in said.out
    assert "control: real" in said.out and "encoders: a few pixels" in said.out
    assert said.out.splitlines()[-1].startswith("Balance 0.")
    assert "tuned: 100%" in said.err and "original: 100%" in said.err
    kept = json.loads(file.read_text())
    assert Metrics.from_dict(kept["tuned"]).numbers().keys() >= {"dino", "clip_t", "pres"}
    assert kept["verdict"] == said.out.splitlines()[-1]
    assert command("--num", "1") == 0
    assert "original:" not in capsys.readouterr().err  # remembered


def test_everything_wrong_is_said_at_once_before_a_model_is_loaded(
    command, pictures, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(module, "load", None)
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert command("--num", "0", model=tmp_path / "nowhere") == 2
    lines = capsys.readouterr().err.splitlines()
    said = [line.split(": ")[1] for line in lines]
    assert said == ["model", "subject images", "per_prompt"]


@pytest.mark.parametrize(
    "options, wrong",
    [
        ({"identifier": "two words"}, "identifier"),
        ({"images": "nowhere"}, "subject images"),
        ({"base": "nowhere"}, "base"),
    ],
)
def test_bad_input_is_one_line(command, capsys, monkeypatch, options, wrong):
    monkeypatch.setattr(module, "load", None)
    assert command(**options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tlab: {wrong}: got")


def test_a_seed_below_0_is_refused_before_a_model_is_loaded(
    command, tuned, pictures, capsys, monkeypatch
):
    monkeypatch.setattr(module, "load", None)
    assert command("--seed", "-1") == 2
    assert "'--seed'" in capsys.readouterr().err
    with pytest.raises(InputError, match="seed: got -1, expected an integer from 0 up"):
        evaluate(tuned, pictures, "zwx", "robot", model_folder(), seed=-1)


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """A folder that says it draws 256 pixels."""
    folder = shutil.copytree(model_folder(), tmp_path_factory.mktemp("larger") / "model")
    file = folder / "unet/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sample_size": 64}))
    return folder


def test_a_base_of_another_size_is_one_line(command, larger, capsys, monkeypatch):
    monkeypatch.setattr(module, "load", None)
    assert command(base=larger) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tlab: base: got {larger}, which draws 256 pixels a side, expected")


def test_a_base_from_the_hub_is_measured_at_its_own_size(
    command, larger, pictures, tmp_path, capsys, monkeypatch
):
    for number, picture in enumerate(subject_pictures("pip", size=256)[:3]):
        Image.fromarray(picture).save(pictures / f"{number}.png")
    assert command(model=larger, base="somebody/larger") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tlab: base: got somebody/larger, which is not here yet")
    there = keep_in_cache(larger, "somebody/larger", tmp_path / "hub", monkeypatch)
    monkeypatch.setattr(module, "load", lambda name: load(there))
    assert command("--num", "1", model=larger, base="somebody/larger") == 0


def test_a_file_in_no_folder_is_refused_first(command, tmp_path, capsys):
    assert command("--json", f"{tmp_path / 'nowhere/numbers.json'}", model="nothing") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--json" in line


def test_the_verdict_names_what_lacks():
    original = point(0, identity=0.0, prompt_accuracy=0.9).metrics

    def verdict(**numbers):
        tuned = point(1, **numbers).metrics
        return Evaluation(tuned, original, "encoders", "base", MEASURING_SMALL).verdict

    assert verdict(identity=0.9, prompt_accuracy=0.9).endswith("and has kept the class.")
    assert "weakest is identity" in verdict(identity=0.3, prompt_accuracy=0.9)
    assert "weakest is prompt" in verdict(identity=0.9, prompt_accuracy=0.4)
    assert "weakest is prior" in verdict(identity=0.9, prompt_accuracy=0.9, class_div=0.2)
    assert "Balance 0.00 of identity 0.00, prompt 0.90, prior 1.00." in verdict(
        identity=0.0, prompt_accuracy=0.9
    )


def test_large_pictures_without_the_hub_are_judged_small(monkeypatch):
    from tlab_diffusion.evaluation import hub_encoders

    def not_there():
        raise InputError("encoders", got="nothing", expected="something")

    monkeypatch.setattr(hub_encoders, "hub_encoders", not_there)
    assert suitable_encoders(64).recognise is not None
    encoders = suitable_encoders(128)
    assert encoders.recognise is None and "cannot be had" in encoders.name
    small = np.stack(subject_pictures("pip"))
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    alike = (encoders.identity(large) * suitable_encoders(64).identity(small)).sum(dim=1)
    assert (alike > 0.98).all()  # the same pictures, larger
    monkeypatch.setattr(
        hub_encoders, "hub_encoders", lambda: replace(encoders, name="CLIP and DINO")
    )
    assert suitable_encoders(512).name == "CLIP and DINO"
