"""Pictures of the paper's experiments: what the models draw, and how much they differ."""

from collections.abc import Sequence
from textwrap import fill

import numpy as np

from tlab_diffusion import plots
from tlab_diffusion.course.paper_tables import LABELS, NAMES, Comparison
from tlab_diffusion.course.stored import METHODS, Sheet


def drawn_by(
    sheet: Sheet, methods: Sequence[str], title: str, *, name: str = "pip", last: int | None = None
) -> plots.Picture:
    r"""Samples of the models of some methods, one row each; with `last`, all in one row.

    Args:
        sheet: from `load_sheet`.
        methods: keys of `METHODS`.
        title: a phrase, shown above and read aloud.
        name: the subject.
        last: how many of the last columns to show; all of them without it.
    """
    shown = slice(-last, None) if last else slice(None)
    texts = sheet.captions[name][shown]
    captions = [f"{METHODS[method]}:\n{fill(text, 20)}" for method in methods for text in texts]
    pictures = np.concatenate([sheet.pictures[name][method][shown] for method in methods])
    columns = len(pictures) if last else len(texts)
    return plots.picture_grid(pictures, captions, columns=columns, title=title)


def effects_figure(table: Comparison) -> plots.Picture:
    r"""The differences of a table with their 95 % intervals, and the direction in the paper."""
    rows = {}
    for effect in table.effects:
        pair = f"{NAMES[effect.one]} minus {NAMES[effect.other]}"
        rows[f"{pair}\n{LABELS[effect.metric]} (paper: {effect.in_paper})"] = effect.ours
    return plots.intervals(
        rows,
        title=f"{table.title}: differences here, filled where the interval leaves out 0",
        xlabel="difference of the two methods, paired by subject",
    )
