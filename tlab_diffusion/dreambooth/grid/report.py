r"""The report of a grid: `table.md`, `heat_map.png` and `pictures.png`."""

from collections.abc import Iterator, Sequence

import numpy as np

from tlab_diffusion.dreambooth.grid.result import ORIGINAL, Grid, GridPoint, format_rate
from tlab_diffusion.dreambooth.grid.store import GridStore
from tlab_diffusion.dreambooth.measures.selection import QUALITIES
from tlab_diffusion.dreambooth.report.contact_sheet import read_strip
from tlab_diffusion.evaluation.result import LABELS, Metrics
from tlab_diffusion.files import as_input_error, atomic_write

# The metrics that are shown next to the qualities.
COLUMNS = ("dino", "clip_i", "clip_t", "copies", "pres", "class_div")
NOTHING = "–"


def write_report(grid: Grid, store: GridStore) -> None:
    """Write the three files, each whole or not at all."""
    files = {
        "table.md": f"{table(grid)}\n".encode(),
        "heat_map.png": _heat_map(grid),
        "pictures.png": _pictures(grid, store),
    }
    with as_input_error(store.path), store.locked():
        for name, content in files.items():
            with atomic_write(store.path / name) as draft:
                draft.write_bytes(content)


def _heat_map(grid: Grid) -> bytes:
    """The PNG file."""
    from tlab_diffusion.plots import heat_maps

    rates = [format_rate(rate) for rate in grid.learning_rates]
    return heat_maps(
        rates[::-1],  # the highest on top
        [str(steps) for steps in grid.steps],
        {name: grid.table(name)[::-1] for name in ("score", *QUALITIES)},
        labels=("learning rate", "steps"),
        best=_best_point(grid),
        title=verdict(grid),
    ).png()


def _pictures(grid: Grid, store: GridStore) -> bytes:
    """The PNG file."""
    from tlab_diffusion.plots import picture_page

    names = {"original model": ORIGINAL} | {
        f"{format_rate(p.learning_rate)}, {p.steps} steps": p.name
        for p in grid.points
        if p in grid.trials
    }
    strips = [read_strip(store.strip(name)) for name in names.values()]
    return picture_page(
        np.stack(strips),
        list(names),
        grid.settings["prompts"],
        title="What each trial drew, all from the same noise",
    ).png()


def _best_point(grid: Grid) -> tuple[int, int] | None:
    """The row and column of the best trial in the heat map."""
    if grid.best is None:
        return None
    rate, steps = grid.best.point
    return grid.learning_rates[::-1].index(rate), grid.steps.index(steps)


def verdict(grid: Grid) -> str:
    """The best trial as text, and whether it is at the edge of the grid."""
    best = grid.best
    if best is None:
        return "No trial was measured: every training failed before."
    point = f"learning rate {format_rate(best.point.learning_rate)}, {best.point.steps} steps"
    number = len(grid.trials)
    said = f"The best of {number} trials: {point}. Score {best.score:.2f} of {best.qualities}."
    beyond = [
        words
        for value, values, lower, higher in (
            (best.point.learning_rate, grid.learning_rates, "lower rates", "higher rates"),
            (best.point.steps, grid.steps, "fewer steps", "more steps"),
        )
        for end, words in ((values[0], lower), (values[-1], higher))
        if value == end
    ]
    return (
        f"{said} It is at the edge of the grid: {' and '.join(beyond)} may be better."
        if beyond
        else said
    )


def table(grid: Grid) -> str:
    """The grid as text, in Markdown."""
    settings, counts = grid.settings, grid.settings["counts"]
    parts = [
        f"# {settings['identifier']} {settings['class_noun']}: learning rate x steps",
        verdict(grid),
        *_failures(grid),
        "The score is the harmonic mean of identity, prompt and prior:",
        _scores(grid),
        f"Pictures of each prompt: {counts['per_prompt']}; of the class: {counts['per_class']}. "
        f"Encoders: {settings['encoders']}.",
        _trials(grid),
    ]
    return "\n\n".join(parts)


def _failures(grid: Grid) -> Iterator[str]:
    """A line for each training that failed."""
    rows = {point.learning_rate: why for point, why in grid.failed.items()}
    for rate, why in sorted(rows.items()):
        yield f"The training at {format_rate(rate)} failed: {why}."


def _scores(grid: Grid) -> str:
    rows = [
        [format_rate(rate), *[_score(grid, GridPoint(rate, steps)) for steps in grid.steps]]
        for rate in reversed(grid.learning_rates)
    ]
    return markdown(["learning rate", *[f"{steps} steps" for steps in grid.steps]], rows)


def _score(grid: Grid, point: GridPoint) -> str:
    if point not in grid.trials:
        return NOTHING
    score = f"{grid.trials[point].score:.2f}"
    return f"**{score}**" if point == grid.best.point else score


def _trials(grid: Grid) -> str:
    rows = [["the original model", "", "", *[""] * len(QUALITIES), *_numbers(grid.original)]]
    for point in grid.points:
        trial = grid.trials.get(point)
        row = [format_rate(point.learning_rate), str(point.steps)]
        if trial is None:
            row += [NOTHING] * (1 + len(QUALITIES) + len(COLUMNS))
        else:
            shares = (trial.score, *trial.qualities.by_name().values())
            row += [f"{value:.2f}" for value in shares] + _numbers(trial.metrics)
        rows.append(row)
    return markdown(
        ["learning rate", "steps", "score", *QUALITIES, *(LABELS[name].title for name in COLUMNS)],
        rows,
    )


def _numbers(metrics: Metrics) -> list[str]:
    numbers = metrics.numbers()
    return [f"{numbers[name]:.2f}" if name in numbers else NOTHING for name in COLUMNS]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * (width - 1) + ":" for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(text.rjust(w) for text, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
