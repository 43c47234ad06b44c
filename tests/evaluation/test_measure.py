"""Metrics of models with known faults, by an oracle that knows the truth."""

import json
from functools import lru_cache

import numpy as np
import pytest
import torch

from tests.evaluation.oracle import Oracle, Tuned
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation import identity
from tlab_diffusion.evaluation.encoders import Encoders
from tlab_diffusion.evaluation.identity import SubjectReferences, picturebook_subject
from tlab_diffusion.evaluation.leakage import draw_leak_samples
from tlab_diffusion.evaluation.measure import SampleCounts, SubjectMetrics, measure
from tlab_diffusion.evaluation.metrics import diversity, image_similarity, prompt_similarity
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.evaluation.subject_prompts import prompts_for, ten_prompts
from tlab_diffusion.evaluation.subjects import average, differences
from tlab_diffusion.picturebook import SUBJECTS, subject_pictures

COUNTS = SampleCounts(per_prompt=2, per_class=8, batch=7)
LEAKS = SampleCounts(per_prompt=1, per_class=8, batch=7, per_leak=13)


def prompts_of(name):
    subject = SUBJECTS[name]
    return ten_prompts("zwx", subject.class_noun, subject.places, subject.colour)


ORACLE = lru_cache(Oracle)  # one for all


@lru_cache
def measured(name, *faults, counts=COUNTS):
    """The oracle's metrics of a model, and the model."""
    oracle = ORACLE()
    model = Tuned(oracle, name, *faults)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "render_scenes", oracle.draw)
        target, encoders = picturebook_subject(name), oracle.encoders()
        return measure(model, target, prompts_of(name), encoders=encoders, counts=counts), model


def test_a_perfect_model():
    metrics, _ = measured("pip")
    numbers, perfect = metrics.numbers(), metrics.controls["perfect"]
    assert numbers["identity"] == numbers["prompt_accuracy"] == numbers["place"] == 1
    assert numbers["copies"] == 0
    for name, control in perfect.items():
        assert numbers[name] == pytest.approx(control.mean, abs=0.05)
    assert numbers["dino"] == pytest.approx(metrics.controls["real"]["dino"].mean, abs=0.05)
    assert numbers["entropy_colour"] > 0.5 and numbers["entropy_pattern"] > 0.3
    assert numbers["pres"] < 0.5 and numbers["class_div"] > 0.1


def test_nobody_is_told_from_behind_or_in_another_coat():
    oracle, target = ORACLE(), picturebook_subject("pip")
    prompts = [p for p in prompts_for("zwx", "robot") if p.use in ("view", "property")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "render_scenes", oracle.draw)
        rows = SubjectMetrics(target, oracle.encoders()).per_prompt(
            identity.perfect(target, [prompt.expected for prompt in prompts]), prompts
        )
    judged = [
        prompt.expected for prompt, row in zip(prompts, rows, strict=True) if "identity" in row
    ]
    assert [expected["view"] for expected in judged] == ["side"] * 5
    assert all({"dino", "clip_t", "prompt_accuracy", "copies"} <= set(row) for row in rows)


def test_a_model_that_copies_is_no_model_that_knows_the_subject():
    metrics, _ = measured("pip", "copies")
    numbers, perfect = metrics.numbers(), measured("pip")[0].numbers()
    assert (numbers["identity"], numbers["copies"], numbers["place"]) == (0, 1, 0)
    assert numbers["dino"] > perfect["dino"]  # which DINO alone would have taken for the better
    assert numbers["clip_t"] < perfect["clip_t"]
    control = metrics.controls["copy"]
    assert (control["identity"].mean, control["copies"].mean) == (0, 1)
    assert numbers["dino"] == pytest.approx(control["dino"].mean, abs=0.05)


def test_a_model_that_draws_strangers_obeys_and_fails():
    metrics, _ = measured("pip", "stranger")
    numbers, stranger = metrics.numbers(), metrics.controls["stranger"]
    assert numbers["identity"] == numbers["copies"] == 0 and numbers["prompt_accuracy"] == 1
    assert numbers["dino"] == pytest.approx(stranger["dino"].mean, abs=0.05)
    assert stranger["identity"].mean == 0 and stranger["prompt_accuracy"].mean == 1


def test_a_model_that_never_leaves_its_meadow():
    metrics, _ = measured("pip", "stays")
    numbers = metrics.numbers()
    assert numbers["place"] == 0 and numbers["identity"] == 1
    assert metrics.uses["property"]["prompt_accuracy"].mean == 1  # where no place was asked for
    assert metrics.uses["accessory"]["prompt_accuracy"].mean == 0
    assert metrics.uses["accessory"]["accessory"].mean == 1  # that much it did
    assert numbers["prompt_accuracy"] == pytest.approx(0.1)
    assert numbers["clip_t"] < measured("pip")[0].numbers()["clip_t"]


def test_a_class_that_became_the_subject():
    numbers, kept = measured("pip", "collapsed")[0].numbers(), measured("pip")[0].numbers()
    assert numbers["pres"] > kept["pres"] + 0.3
    assert numbers["pres"] == pytest.approx(numbers["dino"], abs=0.05)
    assert numbers["class_div"] < 0.7 * kept["class_div"]
    assert numbers["entropy_colour"] == numbers["entropy_pattern"] == 0
    assert all(numbers[name] == kept[name] for name in ("dino", "clip_i", "clip_t", "identity"))


@lru_cache
def pips_metrics():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "render_scenes", ORACLE().draw)
        return SubjectMetrics(picturebook_subject("pip"), ORACLE().encoders())


def leaks_of(*faults):
    """The metrics of the class and of others that a model draws."""
    model = Tuned(ORACLE(), "pip", *faults)
    leaks = draw_leak_samples(model, "robot", 6, batch=7)
    found = pips_metrics().of_class(model(["a robot"] * 2, 0), leaks)
    return {name: each.mean for name, each in found.items()}


def test_what_leaks_is_counted():
    numbers = leaks_of()
    assert numbers["class_taken"] == numbers["other_taken"] == 0 and numbers["class_accuracy"] == 1
    assert numbers["class_colour"] < 0.5 > numbers["other_colour"]  # some are turquoise by chance
    collapsed, paints, spreads = (leaks_of(each) for each in ("collapsed", "paints", "spreads"))
    assert collapsed["class_taken"] == collapsed["class_colour"] == 1
    assert paints["other_colour"] == 1 and paints["other_taken"] == 0
    assert spreads["other_taken"] == spreads["other_colour"] == 1
    assert spreads["other_pres"] > numbers["other_pres"] + 0.3
    untouched = {"other_": collapsed, "class_": paints} | {"class": spreads}
    for start, found in untouched.items():
        for name in numbers:
            assert not name.startswith(start) or found[name] == numbers[name], (start, name)


def test_a_class_in_the_wrong_place_is_not_accurate():
    assert leaks_of("collapsed", "stays")["class_accuracy"] == 0


def test_leakage_is_counted_with_the_pictures_it_took():
    metrics, model = measured("pip", counts=LEAKS)
    assert LEAKS.total(10) == 10 + 8 + 2 * 13
    assert sum(len(texts) for texts, _ in model.asked) == LEAKS.total(10)
    plain = [text for texts, _ in model.asked for text in texts if "zwx" not in text]
    of_class = [text for text in plain if "robot" in text]
    assert len(of_class) == 8 + 13 and of_class.count("a robot") == 8
    assert len(plain) == 8 + 13 + 13
    others = {text.split()[1] for text in plain if "robot" not in text}
    assert len(others) == 13  # every other class
    assert "13 of it in places, 13 of other classes" in metrics.table()


def test_the_papers_measures_by_hand():
    """Over all pictures at once, with the metrics that the course teaches."""
    oracle = ORACLE()
    prompts, target = prompts_of("buzz"), picturebook_subject("buzz")
    model = Tuned(oracle, "buzz")
    drawn = np.concatenate(
        [model([p.text for p in prompts for _ in range(2)][i : i + 7], i) for i in (0, 7, 14)]
    )
    class_drawn = np.concatenate([model(["a car"] * 7, 50_000), model(["a car"], 50_007)])
    real = target.references
    numbers = measured("buzz")[0].numbers()
    assert numbers["dino"] == pytest.approx(
        image_similarity(oracle.identity(drawn), oracle.identity(real)).item(), abs=1e-5
    )
    assert numbers["clip_i"] == pytest.approx(
        image_similarity(oracle.image(drawn), oracle.image(real)).item(), abs=1e-5
    )
    words = oracle.text([prompt.plain for prompt in prompts for _ in range(2)])
    assert numbers["clip_t"] == pytest.approx(
        prompt_similarity(oracle.image(drawn), words).item(), abs=1e-5
    )
    pairs = oracle.identity(drawn).split(2)
    assert numbers["div"] == pytest.approx(
        np.mean([diversity(pair).item() for pair in pairs]), abs=1e-5
    )
    who = oracle.identity(class_drawn)
    assert numbers["pres"] == pytest.approx(
        image_similarity(who, oracle.identity(real)).item(), abs=1e-5
    )
    assert numbers["class_div"] == pytest.approx(diversity(who).item(), abs=1e-5)
    others = measured("buzz")[0].controls["real"]
    assert others["clip_i"].mean == pytest.approx(
        1 - diversity(oracle.image(real)).item(), abs=1e-5
    )


def test_what_the_sampler_is_asked():
    _, model = measured("pip")
    texts = [text for prompts, _ in model.asked for text in prompts]
    assert all(len(prompts) <= COUNTS.batch for prompts, _ in model.asked)
    assert len({seed for _, seed in model.asked}) == len(model.asked)  # no noise twice
    assert texts.count("a robot") == COUNTS.per_class
    for prompt in prompts_of("pip"):
        assert texts.count(prompt.text) == COUNTS.per_prompt
    _, other = measured("pip", "stranger")
    assert other.asked == model.asked  # the same noise for both


def test_results_can_be_kept_and_read(tmp_path):
    metrics, _ = measured("pip")
    again = Metrics.from_dict(json.loads(json.dumps(metrics.as_dict())))
    assert again == metrics and again.numbers() == metrics.numbers()
    assert metrics.samples["dino"].low < metrics.samples["dino"].mean
    lines = metrics.table().splitlines()
    assert lines[0] == "pip: 10 prompts x 2 pictures, 8 of the class"
    rows = {line[:20].strip(): line[20:].split() for line in lines[1:]}
    assert rows["all prompts"][4] == "1.000" and rows["control: stranger"][4] == "0.000"
    assert rows["control: real"][2:] == ["-"] * 6
    assert set(metrics.uses) <= set(rows) and max(map(len, lines)) <= 100


def test_a_subject_of_another_world_is_measured_without_ours():
    def features(pictures):
        return torch.from_numpy(pictures.reshape(len(pictures), -1).astype(np.float32))

    def sample(prompts, seed):
        return np.stack([subject_pictures("pip", 64)[(seed + i) % 5] for i in range(len(prompts))])

    encoders = Encoders(features, features, lambda texts: torch.ones(len(texts), 64 * 64 * 3))
    target = SubjectReferences(np.stack(subject_pictures("pip")), "backpack")
    prompts = prompts_for("sks", "backpack")[:3]
    metrics = measure(sample, target, prompts, encoders=encoders, counts=LEAKS)
    assert set(metrics.samples) == {"dino", "clip_i", "clip_t", "copies"}
    assert metrics.numbers()["copies"] == 1 and metrics.subject == "backpack"
    assert set(metrics.class_samples) == {"pres", "class_div", "other_pres"}
    assert set(metrics.controls) == {"real", "copy"}
    one = SubjectReferences(target.references[:1], "backpack")
    counts = SampleCounts(per_prompt=1, per_class=2)
    metrics = measure(sample, one, prompts, encoders=encoders, counts=counts)
    assert set(metrics.controls) == {"copy"} and "div" not in metrics.samples


def test_what_is_refused(monkeypatch, tmp_path):
    oracle, target = ORACLE(), picturebook_subject("pip")
    model = Tuned(oracle, "pip")
    with pytest.raises(InputError, match="prompts: got none"):
        measure(model, target, [], encoders=oracle.encoders())
    with pytest.raises(InputError, match="per_prompt: got 0"):
        SampleCounts(per_prompt=0)
    with pytest.raises(InputError, match="per_class: got 1, expected an integer from 2 up"):
        SampleCounts(per_class=1)
    monkeypatch.setattr(identity, "render_scenes", oracle.draw)
    with pytest.raises(InputError, match="sample: got 6 pictures, expected 7"):
        short = lambda prompts, seed: model(prompts[1:], seed)  # noqa: E731
        measure(short, target, prompts_of("pip"), encoders=oracle.encoders(), counts=COUNTS)


def test_the_shipped_encoders_need_their_weights(monkeypatch, tmp_path):
    from tlab_diffusion.evaluation import encoders, shipped_encoders

    monkeypatch.setattr(shipped_encoders, "IMAGE_TEXT_FILE", tmp_path / "nothing")
    shipped_encoders.image_text.cache_clear()
    with pytest.raises(InputError, match="weights: got no file"):
        encoders.shipped_encoders()


def test_effects_over_subjects():
    names = ("pip", "buzz", "mochi")
    good = [measured(name)[0] for name in names]
    bad = [measured(name, "copies")[0] for name in reversed(names)]
    mean = average(good)
    assert mean["identity"] == (1, 1, 1)
    assert mean["dino"].mean == pytest.approx(np.mean([m.numbers()["dino"] for m in good]))
    effect = differences(good, bad)
    assert effect["identity"] == (1, 1, 1) and effect["copies"] == (-1, -1, -1)
    assert effect["clip_t"].excludes(0) and effect["clip_t"].mean > 0
    assert effect["pres"] == pytest.approx((0, 0, 0))  # nothing was done to the class
    with pytest.raises(InputError, match="pip, pip"):
        average([good[0], good[0]])
    with pytest.raises(InputError, match="none"):
        average([])
    with pytest.raises(InputError, match="mochi on one side only"):
        differences(good, bad[1:])
