"""The benchmark of the default settings: what it types, what it keeps, what it says."""

import json
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from benchmarks import every_subject
from tlab_diffusion.cli import app
from tlab_diffusion.course.stored import load_tables
from tlab_diffusion.dreambooth.measures.compare import Evaluation
from tlab_diffusion.pipelines.sampler_settings import MEASURING_SMALL


@pytest.fixture
def typed(monkeypatch):
    """Commands are looked at as `tlab` would and not run; what is evaluated is a stored result."""
    tables = load_tables()
    commands = []

    def tlab(folder, command, *words):
        options = get_command(app).commands[command].make_context(command, list(words)).params
        commands.append((command, options))
        if command == "evaluate":
            [tuned] = (each for each in tables["dreambooth"] if each.subject == folder.name)
            [original] = (each for each in tables["original"] if each.subject == folder.name)
            found = Evaluation(tuned, original, "stored", "picturebook", MEASURING_SMALL).as_dict()
            folder.mkdir(parents=True, exist_ok=True)
            Path(options["file"]).write_text(json.dumps(found), encoding="utf-8")

    monkeypatch.setattr(every_subject, "tlab", tlab)
    return commands


def test_only_what_must_be_said_is_said(typed, tmp_path):
    every_subject.main(["--work", str(tmp_path), "--subjects", "pip"])
    (_, subject), (_, tuned), (_, measured) = typed
    assert subject["out"] == tuned["subject_images"] == measured["subject_images"]
    assert (tuned["class_noun"], measured["class_noun"]) == ("robot", "robot")
    assert str(tuned["output"]) == measured["model"]
    assert tuned["max_steps"] is tuned["prior_loss_weight"] is tuned["evaluate_every"] is None
    assert measured["seed"] != tuned["seed"]


def test_subjects_are_measured_once_and_the_means_are_over_them(typed, tmp_path, capsys):
    work = ["--work", str(tmp_path), "--subjects"]
    every_subject.main([*work, "pip", "mochi"])
    assert len(typed) == 6
    every_subject.main([*work, "pip", "mochi", "petal"])
    assert len(typed) == 9
    said = capsys.readouterr().out.splitlines()
    subjects = {each.subject: each.numbers() for each in load_tables()["dreambooth"]}
    names = ("pip", "mochi", "petal")
    mean = sum(subjects[name]["identity"] for name in names) / 3
    *_, line = (line for line in said if line.startswith("identity  "))
    assert f"{mean:.3f} [" in line
    original = load_tables()["original"][0].numbers()
    row = every_subject.row(json.loads((tmp_path / "pip.json").read_text()))
    assert tuple(row) == every_subject.COLUMNS
    kept = subjects["pip"]["class_div"] / original["class_div"]
    assert row["variety kept"] == pytest.approx(kept)
    in_contexts = load_tables()["dreambooth"][0].uses["context"]["place"].mean
    assert row["in new contexts: place"] == pytest.approx(in_contexts)
    assert row["distance kept"] == pytest.approx(
        (1 - subjects["pip"]["pres"]) / (1 - original["pres"])
    )


def test_what_fails_stops_and_leaves_no_numbers(tmp_path):
    with pytest.raises(subprocess.CalledProcessError):
        every_subject.learn("pip", str(tmp_path / "no-model"), tmp_path / "pip.json")
    assert not (tmp_path / "pip.json").exists()
    assert "no-model" in (tmp_path / "pip" / "log.txt").read_text()
