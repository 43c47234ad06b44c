"""One environment: every file that describes it says the same, and so does what is installed."""

import shutil

import pytest

from tests import pins

FILES = (
    "requirements.txt",
    "requirements-test.txt",
    "requirements-site.txt",
    "constraints.txt",
    "environment.yml",
    "pyproject.toml",
)


def test_the_files_agree():
    assert pins.disagreements(pins.ROOT) == []


def test_what_is_installed_is_what_is_pinned():
    assert pins.differing(pins.direct_pins(pins.ROOT)) == []


def test_the_course_and_its_tests_are_pinned():
    assert {"torch", "jupyterlab", "ipywidgets"} <= pins.read_pins(
        pins.ROOT / "requirements.txt"
    ).keys()
    assert {"pytest", "nbval"} <= pins.read_pins(pins.ROOT / "requirements-test.txt").keys()


@pytest.fixture
def copy(tmp_path):
    for name in FILES:
        shutil.copy(pins.ROOT / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        ("constraints.txt", "tornado==", "numpy==1.0\ntornado==", "numpy is pinned"),
        ("constraints.txt", "tornado==", "resvg_py==9\ntornado==", "resvg-py is pinned"),
        ("environment.yml", "python=3.12", "python=3.10", "a Python that pyproject.toml"),
        ("environment.yml", "- pip\n", "- pip\n  - numpy=2.0\n", "packages of its own"),
        ("environment.yml", "-r requirements.txt", "torch==2.0", "does not install"),
        ("environment.yml", "      - -c constraints.txt\n", "", "does not install"),
        ("pyproject.toml", '["requirements.txt"]', '["other.txt"]', "does not read"),
    ],
)
def test_a_contradiction_is_noticed(copy, name, old, new, complaint):
    text = (copy / name).read_text(encoding="utf-8")
    assert old in text
    (copy / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    found = pins.disagreements(copy)
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize("line", ["torch", "torch>=2.13", "torch==2.*", "torch==2.13.0; x"])
def test_a_loose_requirement_is_refused(copy, line):
    (copy / "requirements.txt").write_text(line, encoding="utf-8")
    with pytest.raises(ValueError, match="not an exact pin"):
        pins.disagreements(copy)


def test_a_changed_pin_is_noticed():
    assert pins.differing({"pytest": "0.1", "nosuch": "1"}) == [
        f"pytest: 0.1 is pinned, {pytest.__version__} is installed",
        "nosuch: 1 is pinned, nothing is installed",
    ]


def test_constraints_can_be_rewritten(copy):
    pins.write_constraints(copy)
    written = pins.read_pins(copy / "constraints.txt")
    assert len(written) > 50
    assert pins.disagreements(copy) == []
    assert pins.differing(written) == []
