"""The learner's journal: it survives kills, neighbours, damage and folders that refuse."""

import json
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from tlab_diffusion.course import catalogue, check, grading, hint, progress, reset
from tlab_diffusion.course.exercises import ALL
from tlab_diffusion.course.exercises.noising import snr
from tlab_diffusion.course.hints import next_tier
from tlab_diffusion.errors import InputError

# The module itself, without the package around it: it needs the standard library only, and so
# a process that writes is up in no time.
MODULE = Path(grading.__file__).with_name("journal.py")
WRITER = f"""
import runpy, sys
record = runpy.run_path({str(MODULE)!r})["record"]
name, count = sys.argv[1], int(sys.argv[2])
for number in range(count):
    record(f"{{name}}.{{number}}", "passed", None)
    if number == 0:
        print("writing", flush=True)
"""


@pytest.fixture
def journal(tmp_path, monkeypatch):
    path = tmp_path / "progress.jsonl"
    monkeypatch.setenv("TLAB_PROGRESS", str(path))
    return path


def start_writer(name: str, count: int) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def test_a_check_is_noted_and_shown(journal):
    check("noising.snr", lambda a: a)
    assert "✗ noising.snr" in str(progress())
    check("noising.snr", snr)
    assert "✓ noising.snr" in str(progress())
    assert [entry["outcome"] for entry in records(journal)] == ["failed", "passed"]


def test_what_passed_once_stays_passed(journal):
    check("noising.snr", snr)
    check("noising.snr", lambda a: a)
    assert "✓ noising.snr (the last try failed)\n" in str(progress())
    check("noising.snr", lambda a: 1 / 0)
    assert "✓ noising.snr (the last try raised an error)\n" in str(progress())
    check("noising.snr", snr)
    assert "✓ noising.snr\n" in str(progress())


def test_an_error_is_told_apart_from_a_wrong_answer(journal):
    check("noising.snr", lambda a: 1 / 0)
    check("noising.q_step", lambda x, b, n: x)
    assert "! noising.snr" in str(progress())
    assert "✗ noising.q_step" in str(progress())


def test_a_reset_forgets_one_exercise_and_says_so(journal):
    assert "Nothing was noted of noising.snr" in str(reset("noising.snr"))
    check("noising.snr", snr)
    check("noising.q_step", lambda x, b, n: x)
    hint("noising.snr", 2)
    assert "it was passed, and is open again" in str(reset("noising.snr"))
    assert "· noising.snr" in str(progress())
    assert "✗ noising.q_step" in str(progress())
    assert next_tier("noising.snr") == 1
    check("noising.snr", lambda a: a)
    assert "✗ noising.snr" in str(progress())
    check("noising.snr", snr)
    assert "✓ noising.snr\n" in str(progress())
    with pytest.raises(InputError, match=r"noising\.q_step"):
        reset("noising.q_stepp")


def test_a_long_journal_is_read_quickly(journal):
    ids = [exercise.id for exercise in ALL]
    lines = [
        f'\n{{"exercise": "{id}", "outcome": "failed", "misconception": null}}\n' for id in ids
    ]
    journal.write_text("".join(lines) * 2000)  # 6 MB
    with journal.open("a") as file:
        file.write('\n{"exercise": "noising.snr", "outcome": "passed", "misconception": null}\n')
    began = time.process_time()
    assert catalogue.journal.read()["noising.snr"].passed
    assert time.process_time() - began < 0.3  # to parse every line takes longer


def test_what_was_not_attempted_is_not_noted(journal):
    def stub(alphas_cumprod):
        raise NotImplementedError

    check("noising.snr", stub)
    assert not journal.exists()
    assert "· noising.snr" in str(progress())


def test_without_the_variable_it_lies_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("TLAB_PROGRESS")
    monkeypatch.chdir(tmp_path)
    check("noising.snr", snr)
    assert (tmp_path / "progress.jsonl").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on Windows")
@pytest.mark.parametrize("after", [0.0, 0.02, 0.05])
def test_a_writer_killed_at_any_time_leaves_a_journal_that_reads(journal, after):
    writer = start_writer("killed", 10**9)
    assert writer.stdout.readline() == "writing\n"
    time.sleep(after)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        standing = catalogue.journal.read()
    assert standing["killed.0"].passed
    assert list(standing) == [f"killed.{number}" for number in range(len(standing))]
    check("noising.snr", snr)
    assert catalogue.journal.read()["noising.snr"].passed


def test_several_notebooks_may_write_at_once(journal):
    writers = [start_writer(f"notebook{number}", 300) for number in range(4)]
    for writer in writers:
        writer.communicate()
    names = [entry["exercise"] for entry in records(journal)]
    assert sorted(names) == sorted(f"notebook{w}.{n}" for w in range(4) for n in range(300))


def test_a_record_torn_anywhere_spoils_no_other(journal):
    check("noising.snr", snr)
    check("noising.q_step", lambda x, b, n: x)
    whole = journal.read_bytes()
    first = whole.index(b"\n\n") + 1
    for end in range(first, len(whole) + 1):
        journal.write_bytes(whole[:end])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert catalogue.journal.read()["noising.snr"].passed
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            catalogue.journal.record("noising.q_sample", "passed", None)
            assert catalogue.journal.read()["noising.q_sample"].passed


def test_a_damaged_journal_warns_once_and_keeps_what_is_whole(journal):
    good = b'{"exercise": "noising.snr", "outcome": "passed"}\n'
    journal.write_bytes(b"\xff\xfe\x00\n[1, 2]\n3\nnull\n{}\n" + b"[" * 99_999 + b"\n" + good)
    with pytest.warns(UserWarning, match="6 damaged lines") as caught:
        assert "✓ noising.snr" in str(progress())
        progress()
    assert len(caught) == 1
    assert check("noising.snr", snr).outcome == "passed"


@pytest.mark.parametrize("where", ["no/such/folder/progress.jsonl", "."])
def test_a_place_that_refuses_warns_once_and_stops_no_check(where, tmp_path, monkeypatch):
    monkeypatch.setenv("TLAB_PROGRESS", str(tmp_path / where))
    with pytest.warns(UserWarning, match="Progress is not being saved") as caught:
        assert check("noising.snr", snr).outcome == "passed"
        assert check("noising.snr", snr).outcome == "passed"
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "· noising.snr" in str(progress())


def test_an_exercise_of_another_version_is_no_obstacle(journal):
    journal.write_text('{"exercise": "gone.away", "outcome": "passed"}\n')
    assert "gone" not in str(progress())
