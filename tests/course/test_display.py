"""What learners see: boxes, tables, hints, sources; and what importing all that costs."""

import html.parser
import re
import subprocess
import sys

import pytest

from tlab_diffusion.course import (
    check,
    exercises,
    hint,
    progress,
    reference,
    snippets,
    solution,
)
from tlab_diffusion.course.exercises import ALL
from tlab_diffusion.course.feedback import inline, prose
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
        '<p style="margin: 0.3em 0">One.</p><pre style="margin: 0.4em 0">a = 1\n  b</pre>'
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
    assert "✓ <code>noising.snr</code>" in progress()._repr_mimebundle_()["text/html"]


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
