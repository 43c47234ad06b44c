"""What learners see: boxes, tables, hints, sources; and what importing all that costs."""

import html.parser
import re
import subprocess
import sys

import pytest
from IPython.core.formatters import DisplayFormatter

from tlab_diffusion.course import (
    check,
    exercises,
    grading,
    hint,
    journal,
    progress,
    reference,
    reset,
    snippets,
    solution,
)
from tlab_diffusion.course.exercises import ALL
from tlab_diffusion.course.feedback import inline, prose
from tlab_diffusion.course.hint_button import HintButton
from tlab_diffusion.diffusion import process
from tlab_diffusion.errors import InputError


class Nesting(html.parser.HTMLParser):
    """Fails on an element that is closed out of turn or not at all."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attributes):
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def shown_things():
    yield check("noising.snr", lambda a: a)
    yield check("noising.snr", lambda a: {}["<b>"])
    yield exercises()
    yield progress()
    for exercise in ALL:
        yield from (hint(exercise.id, tier) for tier in (1, 2, 3))


def test_every_face_is_sound_html_with_plain_text_beside_it():
    for thing in shown_things():
        bundle = thing._repr_mimebundle_()
        assert set(bundle) == {"text/plain", "text/html"}
        assert bundle["text/plain"] == repr(thing)
        parser = Nesting()
        parser.feed(bundle["text/html"])
        assert parser.open == []
        assert "<b>" not in bundle["text/html"]
        assert not re.search(r"0x[0-9a-f]{6}", bundle["text/plain"])


def test_what_variants_say_is_sound_markup():
    for exercise in ALL:
        for text in (exercise.verified, *exercise.hints, *(v.why for v in exercise.variants)):
            for paragraph in text.split("\n\n"):
                assert paragraph.count("`") % 2 == 0, paragraph
                assert paragraph.startswith("    ") or "\n" not in paragraph, paragraph


def test_markup():
    assert inline("`a * b` and *so* on <i>") == "<code>a * b</code> and <em>so</em> on &lt;i&gt;"
    assert prose("One.\n\n    a = 1\n      b") == (
        '<p style="margin: 0.3em 0">One.</p>'
        '<pre style="margin: 0.4em 0; white-space: pre-wrap">a = 1\n  b</pre>'
    )


def test_the_list_of_exercises_is_a_list_and_a_table():
    listed = exercises()
    assert [e.id for e in listed][:2] == ["start.to_model_range", "noising.q_step"]
    q_sample = next(e for e in listed if e.id == "noising.q_sample")
    assert q_sample.signature == "q_sample(x0, t, noise, alphas_cumprod)"
    assert q_sample.lesson == "01 Noising"
    assert q_sample.title
    assert "01 Noising: noising.snr: snr(alphas_cumprod)" in str(listed)
    assert listed._repr_mimebundle_()["text/html"].count("<tr>") == len(ALL) + 1


def test_ids_are_unique_and_lessons_come_in_order():
    ids = [e.id for e in ALL]
    assert len(set(ids)) == len(ids)
    assert [e.lesson for e in ALL] == sorted(e.lesson for e in ALL)


def test_progress_counts_by_lesson(tmp_path, monkeypatch):
    monkeypatch.setenv("TLAB_PROGRESS", str(tmp_path / "p.jsonl"))
    check("noising.snr", reference("noising.snr"))
    check("loss.posterior", lambda x0, x_t, t, betas: x0)
    text = str(progress())
    assert "01 Noising: 1 of 7\n" in text
    assert "02 The loss: 0 of 4\n  ✗ loss.posterior\n" in text
    assert "✓\u00a0<code>noising.snr</code>" in progress()._repr_mimebundle_()["text/html"]


def test_progress_says_the_total_and_what_comes_next(tmp_path, monkeypatch):
    monkeypatch.setenv("TLAB_PROGRESS", str(tmp_path / "p.jsonl"))
    first, second = (ALL[number].id for number in (0, 1))
    assert str(progress()).startswith(f"0 of {len(ALL)} exercises passed. Next: {first}, in 00")
    check(first, reference(first))
    assert str(progress()).startswith(f"1 of {len(ALL)} exercises passed. Next: {second}, in 01")
    for exercise in ALL:
        journal.record(exercise.id, "passed", None)
    assert "All are passed." in str(progress())


@pytest.mark.parametrize("lesson", ["noising", "01"])
def test_progress_of_one_lesson(lesson, tmp_path, monkeypatch):
    monkeypatch.setenv("TLAB_PROGRESS", str(tmp_path / "p.jsonl"))
    text = str(progress(lesson))
    assert text.startswith("0 of 7 exercises passed. Next: noising.q_step, in 01 Noising.\n")
    assert "loss." not in text


@pytest.mark.parametrize("lesson", ["noise", 1, ""])
def test_progress_of_a_lesson_that_is_not_there(lesson):
    with pytest.raises(InputError, match="start, noising, loss"):
        progress(lesson)


def wrong(alphas_cumprod):
    return alphas_cumprod


def test_a_failure_offers_the_next_hint_as_text():
    reset("noising.snr")
    offers = ['hint("noising.snr")', 'hint("noising.snr", 2)', 'hint("noising.snr", 3)']
    for tier, offer in enumerate([*offers, 'solution("noising.snr")'], start=1):
        assert str(check("noising.snr", wrong)).endswith(f"For help: `{offer}`")
        if tier < 4:
            hint("noising.snr", tier)
    reset("noising.snr")


def test_the_button_shows_hint_after_hint_and_then_the_solution():
    reset("noising.snr")
    button = HintButton("noising.snr")
    exercise = next(e for e in ALL if e.id == "noising.snr")
    for tier in (1, 2, 3):
        assert button.button.description == f"Show hint {tier} of 3"
        button.button.click()
        assert exercise.hints[tier - 1] in button.shown.outputs[-1]["data"]["text/plain"]
        assert len(button.shown.outputs) == tier
    assert button.button.description == "Show the solution"
    button.button.click()
    assert "def snr(" in button.shown.outputs[-1]["data"]["text/markdown"]
    assert button.button.layout.display == "none"
    reset("noising.snr")


def test_in_a_notebook_a_failure_comes_with_a_button(monkeypatch):
    shown = []
    monkeypatch.setattr(grading, "in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda thing, **options: shown.append(thing))
    check("noising.snr", wrong)._ipython_display_()
    assert "Not yet" in shown[0]["text/html"]
    assert shown[1].children[0].description.startswith("Show hint")


def test_elsewhere_and_after_a_pass_a_result_is_shown_as_usual(monkeypatch):
    formatter = DisplayFormatter()
    for result in (check("noising.snr", wrong), check("noising.snr", reference("noising.snr"))):
        assert set(formatter.format(result)[0]) == {"text/plain", "text/html"}
        monkeypatch.setattr(grading, "in_notebook", lambda: True)


def test_the_reference_is_the_packages_own():
    assert reference("noising.q_sample") is process.q_sample


def test_a_solution_is_code_as_text_and_as_markdown():
    source = solution("noising.cosine_betas")
    assert source.startswith("import math\nimport torch\n\n\ndef cosine_betas(")
    assert repr(source) == str(source)
    assert source._repr_markdown_() == f"```python\n{source}\n```"


def test_snippets_have_numbered_lines():
    text = str(snippets("loss.find_the_bug"))
    assert text.startswith("# Snippet 1\n 1  def train_step(")
    assert " 6      loss.backward(loss)\n" in text
    with pytest.raises(InputError, match="asks to find a bug"):
        snippets("noising.snr")


@pytest.mark.parametrize("ask", [hint, solution, reference, snippets])
def test_an_unknown_id_names_the_closest(ask):
    with pytest.raises(InputError, match=r"noising\.q_sample.*`exercises\(\)` lists them all"):
        ask("noising.qsample")


@pytest.mark.parametrize("tier", [0, 4, -1, "2", None])
def test_a_tier_that_is_not_there_is_refused(tier):
    with pytest.raises(InputError, match="1 to 3"):
        hint("noising.snr", tier)


def test_importing_the_course_is_light():
    code = "import tlab_diffusion.course, sys; print(*{n.split('.')[0] for n in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"matplotlib", "ipywidgets", "IPython", "diffusers"} & set(done.stdout.split())
