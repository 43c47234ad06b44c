"""The paper's tables beside ours: what is claimed, and what is not."""

import pytest

from tests.course.stored_results import metrics
from tlab_diffusion.course.paper_tables import (
    TABLE_1,
    TABLE_3,
    TABLE_4,
    Effect,
    table_1,
    table_3,
    table_4,
)
from tlab_diffusion.course.stored import METHODS
from tlab_diffusion.evaluation.statistics import Interval
from tlab_diffusion.picturebook import SUBJECTS

ALL = (table_1, table_3, table_4)


def tables(value):
    """Tables with `value(method, number of the subject, name)` for every score."""
    return {
        method: [
            metrics(subject, lambda name, m=method, i=i: value(m, i, name))
            for i, subject in enumerate(SUBJECTS)
        ]
        for method in METHODS
    }


def effects(table):
    return {(each.one, each.other, each.metric): each for each in table.effects}


def test_where_the_numbers_are_the_papers_all_agrees():
    for make in (table_3, table_4):
        # Each table by itself: DreamBooth's numbers differ from table to table.
        own = {table_3: TABLE_3, table_4: TABLE_4}[make]
        table = make(tables(lambda m, i, name, own=own: own.get(m, {}).get(name, 0) + 2 * i))
        for each in table.effects:
            assert each.ours.mean == pytest.approx(each.paper)
            if abs(each.paper) >= 0.005:
                assert each.verdict == "agrees" and each.here in ("higher", "lower")
        assert len(table.effects) == {table_3: 5, table_4: 6}[make]


def test_an_effect_is_paired_by_subject():
    def value(method, i, name):
        # Subjects differ by much more than methods do.
        return 10 * i + {"dreambooth": 0.2, "without_prior": 0.1}.get(method, 0) + 0.01 * (i % 3)

    effect = effects(table_3(tables(value)))["dreambooth", "without_prior", "pres"]
    assert effect.ours.mean == pytest.approx(0.1)
    assert effect.ours.low == pytest.approx(0.1) == effect.ours.high
    assert (effect.in_paper, effect.here, effect.verdict) == ("lower", "higher", "the opposite")


def test_what_the_interval_does_not_rule_out_is_not_claimed():
    def value(method, i, name):
        return (0.3 if i % 2 else -0.28) * (method == "dreambooth")  # one way, and the other

    for make in ALL:
        for each in make(tables(value)).effects:
            if each.one == "dreambooth":
                assert each.here == "no clear difference"
                assert each.verdict == (
                    "agrees" if each.metric == "clip_t" and make is table_3 else "not clear here"
                )


@pytest.mark.parametrize(
    ("paper", "ours", "in_paper", "here", "verdict"),
    [
        (0.1, (0.2, 0.1, 0.3), "higher", "higher", "agrees"),
        (-0.1, (-0.2, -0.3, -0.1), "lower", "lower", "agrees"),
        (0.1, (-0.2, -0.3, -0.1), "higher", "lower", "the opposite"),
        (0.1, (0.2, -0.1, 0.3), "higher", "no clear difference", "not clear here"),
        (0.1, (0.2, None, None), "higher", "no clear difference", "not clear here"),
        (0.002, (0.2, 0.1, 0.3), "no clear difference", "higher", "only here"),
        (-0.002, (0.2, -0.1, 0.3), "no clear difference", "no clear difference", "agrees"),
    ],
)
def test_verdicts(paper, ours, in_paper, here, verdict):
    effect = Effect("dino", "dreambooth", "no_noun", Interval(*ours), paper)
    assert (effect.in_paper, effect.here, effect.verdict) == (in_paper, here, verdict)


def test_real_pictures_are_the_references_among_themselves():
    table = table_1(tables(lambda m, i, name: 0.5 + 0.01 * i))
    rows = {(row.metric, row.method): row for row in table.rows}
    assert rows["dino", "real"].ours.mean == pytest.approx(0.545)  # of the control "real"
    assert ("clip_t", "real") not in rows
    assert rows["dino", "real"].paper == 0.774
    assert table.subjects == 10


def test_lpips_is_never_set_beside_ours():
    table = table_3(tables(lambda m, i, name: 0.5 + 0.01 * i))
    assert [row.metric for row in table.rows if row.paper is None] == ["div", "div"]
    for line in str(table).splitlines():
        if line.startswith("DIV"):
            assert ".391" not in line and ".371" not in line


def test_a_table_prints_every_number_once():
    for make, paper in zip(ALL, (TABLE_1, TABLE_3, TABLE_4), strict=True):
        table = make(tables(lambda m, i, name: 0.5 + 0.01 * i))
        text = str(table)
        assert len(table.rows) == sum(map(len, paper.values()))
        lines = text.splitlines()
        assert max(map(len, lines)) <= 100
        for row in table.rows:
            if row.paper is not None:
                assert any(line.endswith(f"{row.paper:.3f}") for line in lines)
        assert sum(line.endswith(("agrees", "here", "opposite")) for line in lines) == len(
            table.effects
        )
