"""Nothing wrong passes and nothing right is refused: every mutant and style of each exercise."""

import pytest

from tests.course.matrix import PAGE, Bench, excused
from tests.course.mutants import mutants
from tests.course.styles import styles_of
from tlab_diffusion.course import check
from tlab_diffusion.course.exercises import ALL

each_exercise = pytest.mark.parametrize("exercise", ALL, ids=lambda exercise: exercise.id)
LEAST_STYLES = 20


@pytest.fixture(scope="module")
def table() -> dict[str, list[str]]:
    """The page's cells, by exercise."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {row[0].strip("`"): row[1:] for row in rows}


@each_exercise
def test_every_mutant_is_refused_unless_it_means_the_same(exercise, table):
    equivalent, remarked = excused(exercise)
    number, alive = Bench(exercise).survivors()
    assert set(alive) == equivalent.keys() | remarked.keys()
    assert all(len(reason) > 10 for reason in (equivalent | remarked).values())
    counts = number, len(equivalent), len(remarked), number - len(alive)
    assert [int(cell) for cell in table[exercise.id][4:8]] == list(counts), "run `make matrix`"


@each_exercise
def test_no_right_answer_is_refused_in_any_style(exercise, table):
    bench, styles = Bench(exercise), styles_of(exercise)
    assert [name for name, answer in styles.items() if not bench.is_right(answer)] == []
    forms = sum(len(variant.forms) for variant in exercise.variants)
    counts = [len(styles), len(styles), forms, forms]
    assert [int(cell) for cell in table[exercise.id][:4]] == counts, "run `make matrix`"
    assert len(styles) >= LEAST_STYLES


def test_the_page_lists_the_exercises_and_their_total(table):
    rows = [[int(cell) for cell in table[exercise.id][:8]] for exercise in ALL]
    assert [int(cell) for cell in table["all"][:8]] == [
        sum(column) for column in zip(*rows, strict=True)
    ]
    caught, others = sum(row[7] for row in rows), sum(row[4] - row[5] for row in rows)
    assert table["all"][8] == f"{caught / others:.1%}"


def test_mutants_that_pass_with_a_remark_are_told_so():
    for exercise in ALL:
        _, remarked = excused(exercise)
        for mutant in mutants(exercise.solution) if remarked else ():
            if mutant.line in remarked:
                assert "One remark." in check(exercise.id, mutant.function).message, mutant.line


def changed(a, b):
    c = (a - 1).sqrt() if a < 2 else b[:1]
    return c.sum(dim=0)


def test_a_mutant_is_one_change():
    lines = [mutant.line for mutant in mutants(changed)]
    assert len(lines) == len(set(lines))
    for line in (
        "c = (a + 1).sqrt() if a < 2 else b[:1]",
        "c = (a - 0).sqrt() if a < 2 else b[:1]",
        "c = a - 1 if a < 2 else b[:1]",
        "c = (1 - a).sqrt() if a < 2 else b[:1]",
        "c = (a - 1).sqrt() if a <= 2 else b[:1]",
        "c = (a - 1).sqrt() if a < 2 else b[1:]",
        "c = (a - 1).sqrt() if a < 2 else b",
        "c = (b - 1).sqrt() if a < 2 else b[:1]",
        "dropped: c = (a - 1).sqrt() if a < 2 else b[:1]",
        "return c.sum(dim=1)",
        "return c.mean(dim=0)",
        "return c",
    ):
        assert line in lines
