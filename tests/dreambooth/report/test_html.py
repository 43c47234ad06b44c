"""The report of a run: whole by itself, and never broken by what it shows."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np

from tests.dreambooth.standin import pixel_encoders, point
from tests.dreambooth.tiny import PICTURES
from tlab_diffusion.dreambooth.measures.evaluator import Evaluator
from tlab_diffusion.dreambooth.report.html import write_report
from tlab_diffusion.dreambooth.report.log import RunLog
from tlab_diffusion.evaluation.statistics import Interval

HOSTILE = '"><script>alert(1)</script><img src="http://evil.example/x.png" onerror=a()>&amp;\'<b>'
SETTINGS = {
    "identifier": "zwx",
    "class_noun": "robot",
    "method": "dreambooth",
    "model": "picturebook",
    "max_steps": 20,
    "learning_rate": 3e-4,
    "snr_gamma": None,
}


class Page(HTMLParser):
    """All elements of a page, with their attributes, and all of its text."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.text, self.open = [], "", []
        self.feed(source)
        self.close()
        assert not self.open, "elements that do not end"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def new_run(folder, *, measured=True, encoders="we", **changes):
    """What a run of 20 steps leaves to report on."""
    record = {"settings": SETTINGS | changes, "facts": {}, "machine": {"device": "cpu"}}
    (folder / "run.json").write_text(json.dumps(record))
    log = RunLog(folder)
    for step in (10, 20):
        log.add_losses(step, (1 / step, 0.05), 3e-4, due=True)
    for step, identity in ((0, 0.0), (10, 0.9), (20, 0.5)):
        log.add_strip(step, np.full((4, 64, 64, 3), step, np.uint8))
        if measured:
            log.add_metrics(step, metrics_of(step, identity), encoders)
    return log


def metrics_of(step, identity):
    counts = {"prompts": 10, "per_prompt": 1, "per_class": 16}
    return replace(point(step, identity=identity, prompt_accuracy=0.8).metrics, counts=counts)


def report(folder, chosen=10, **options):
    words = {"identifier": "zwx", "class_noun": "robot", "encoders": pixel_encoders()} | options
    return Page(write_report(folder, PICTURES, Evaluator(PICTURES, **words), chosen).read_text())


def test_it_shows_all_of_a_run(tmp_path):
    new_run(tmp_path)
    page = report(tmp_path)
    assert "zwx, the robot" in page.text
    assert "Step 10 has the best balance" in page.text
    assert "The folder holds the weights of step 10." in page.text
    texts = Evaluator(PICTURES, "zwx", "robot", encoders=pixel_encoders()).fixed_texts
    assert len(texts) == 4 and all(text in page.text for text in texts)
    assert page.text.count("picturebook") >= 2 and "0.0003" in page.text
    assert "snr gamma" not in page.text  # was not set
    assert str(tmp_path) in page.text and "from_pretrained" in page.text
    assert "num_inference_steps=15, guidance_scale=10" in page.text
    assert "dpm-solver++, 15 steps, guidance scale 10" in page.text
    words = [picture["alt"] for picture in page.of("img")]
    assert len(words) == 3 + 3 + 2 and all(words)
    assert "Loss over 20 steps: subject ends at 0.050, prior ends at 0.050." in words
    assert any(
        word.startswith("Trade-off over the steps; at the best one, step 10") for word in words
    )
    (row,) = [each for each in page.of("tr") if each.get("class") == "chosen"]
    assert row and len(page.of("table")) == 2


def test_it_needs_nothing_else(tmp_path):
    new_run(tmp_path)
    page = report(tmp_path)
    assert all(picture["src"].startswith("data:image/png;base64,") for picture in page.of("img"))
    names = {tag for tag, _ in page.elements}
    assert not names & {"script", "link", "iframe", "object", "a", "form"}
    marks = {name for _, attributes in page.elements for name in attributes}
    assert not [name for name in marks if name.startswith("on") or name in ("href", "action")]
    assert "url(" not in page.text and "@import" not in page.text
    assert "http" not in re.sub("http-equiv", "", (tmp_path / "report.html").read_text())
    (policy,) = [m["content"] for m in page.of("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none'")


def test_hostile_words_are_only_words(tmp_path):
    folder = tmp_path / HOSTILE.replace("/", "_")
    folder.mkdir()
    words = dict.fromkeys(("identifier", "class_noun", "model", "method", "encoders"), HOSTILE)
    log = new_run(folder, **words)
    hostile = replace(metrics_of(15, 0.1), controls={HOSTILE: {"dino": Interval(0.5, 0.1, 0.9)}})
    log.add_metrics(15, hostile, HOSTILE)
    log.add_metrics(30, hostile, HOSTILE)
    page = report(folder, identifier=HOSTILE, class_noun=HOSTILE)
    assert not page.of("script") and not page.of("b")
    assert all(picture["src"].startswith("data:") for picture in page.of("img"))
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert page.text.count(HOSTILE) >= 10
    assert repr(str(folder)) in page.text


def test_a_run_that_measured_nothing_has_a_report(tmp_path):
    new_run(tmp_path, measured=False)
    page = report(tmp_path, chosen=20)
    assert "The folder holds the weights of step 20." in page.text
    assert "best balance" not in page.text and not page.of("table")
    assert len(page.of("img")) == 3 + 3 + 1


def test_it_names_those_who_measured_and_not_those_at_hand(tmp_path):
    log = new_run(tmp_path, encoders="CLIP and DINO")
    assert "computed by CLIP and DINO." in report(tmp_path).text
    unnamed = [json.dumps(without_encoders(line)) + "\n" for line in log.lines]
    log.file.write_text("".join(unnamed))  # an older run
    assert "computed by a few pixels." in report(tmp_path).text


def without_encoders(line):
    """A line of the log, as it was before these had a name in it."""
    return {name: value for name, value in line.items() if name != "encoders"}


def test_the_same_run_has_the_same_report(tmp_path):
    new_run(tmp_path)
    report(tmp_path)
    first = (tmp_path / "report.html").read_bytes()
    report(tmp_path)
    assert (tmp_path / "report.html").read_bytes() == first


def test_it_names_the_libraries_that_read_the_folder(tmp_path):
    new_run(tmp_path)
    assert "oldest libraries" not in report(tmp_path).text
    (tmp_path / "requirements.txt").write_text("diffusers>=0.35\ntransformers>=4.57\n")
    assert "read the folder: diffusers>=0.35, transformers>=4.57." in report(tmp_path).text
