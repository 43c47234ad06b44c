r"""What a grid shows when it is complete: `table.md`, `heat_map.png` and `pictures.png`."""

from collections.abc import Iterator, Sequence

import numpy as np

from tlab_diffusion.dreambooth.grid.result import ORIGINAL, Grid, Place, in_words
from tlab_diffusion.dreambooth.grid.store import GridFolder
from tlab_diffusion.dreambooth.measures.selection import QUALITIES
from tlab_diffusion.dreambooth.report.contact_sheet import read_strip
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.files import as_input_error, atomic_write

# Of all that is measured, what stands beside the qualities.
COLUMNS = {
    "dino": "DINO",
    "clip_i": "CLIP-I",
    "clip_t": "CLIP-T",
    "copies": "copies",
    "pres": "PRES",
    "class_div": "class DIV",
}
NOTHING = "–"


def write_page(grid: Grid, folder: GridFolder) -> None:
    """Write all three, each whole; of calls that end together, one after the other."""
    files = {
        "table.md": f"{table(grid)}\n".encode(),
        "heat_map.png": _heat_map(grid),
        "pictures.png": _pictures(grid, folder),
    }
    with as_input_error(folder.path), folder.locked():
        for name, content in files.items():
            with atomic_write(folder.path / name) as draft:
                draft.write_bytes(content)


def _heat_map(grid: Grid) -> bytes:
    """The PNG file."""
    from tlab_diffusion.plots import heat_maps

    rates = [in_words(rate) for rate in grid.learning_rates]
    return heat_maps(
        rates[::-1],  # the highest on top
        [str(steps) for steps in grid.steps],
        {name: grid.table(name)[::-1] for name in ("score", *QUALITIES)},
        labels=("learning rate", "steps"),
        best=_best_place(grid),
        title=verdict(grid),
    ).png()


def _pictures(grid: Grid, folder: GridFolder) -> bytes:
    """The PNG file."""
    from tlab_diffusion.plots import picture_page

    names = {"original model": ORIGINAL} | {
        f"{in_words(p.learning_rate)}, {p.steps} steps": p.name
        for p in grid.places
        if p in grid.cells
    }
    strips = [read_strip(folder.strip(name)) for name in names.values()]
    return picture_page(
        np.stack(strips),
        list(names),
        grid.settings["prompts"],
        title="What each cell drew, all from the same noise",
    ).png()


def _best_place(grid: Grid) -> tuple[int, int] | None:
    """Where the best cell stands, from the top and from the left."""
    if grid.best is None:
        return None
    rate, steps = grid.best.place
    return grid.learning_rates[::-1].index(rate), grid.steps.index(steps)


def verdict(grid: Grid) -> str:
    """The best cell in words, and whether a better one may lie outside."""
    best = grid.best
    if best is None:
        return "No training came as far as the first cell."
    place = f"learning rate {in_words(best.place.learning_rate)}, {best.place.steps} steps"
    said = (
        f"The best of {len(grid.cells)} cells: {place}. Score {best.score:.2f} of {best.qualities}."
    )
    beyond = [
        words
        for value, values, lower, higher in (
            (best.place.learning_rate, grid.learning_rates, "lower rates", "higher rates"),
            (best.place.steps, grid.steps, "fewer steps", "more steps"),
        )
        for end, words in ((values[0], lower), (values[-1], higher))
        if value == end
    ]
    return f"{said} It lies at the edge: {' and '.join(beyond)} may be better." if beyond else said


def table(grid: Grid) -> str:
    """The grid as text, in Markdown."""
    settings, counts = grid.settings, grid.settings["counts"]
    parts = [
        f"# {settings['identifier']} {settings['class_noun']}: learning rate x steps",
        verdict(grid),
        *_broken(grid),
        "The score is the harmonic mean of identity, prompt and prior:",
        _scores(grid),
        f"Pictures of each prompt: {counts['per_prompt']}; of the class: {counts['per_class']}. "
        f"Encoders: {settings['encoders']}.",
        _cells(grid),
    ]
    return "\n\n".join(parts)


def _broken(grid: Grid) -> Iterator[str]:
    """Where a training broke off, and why: a line for each learning rate."""
    rows = {place.learning_rate: why for place, why in grid.broken.items()}
    for rate, why in sorted(rows.items()):
        yield f"The training at {in_words(rate)} broke off: {why}."


def _scores(grid: Grid) -> str:
    rows = [
        [in_words(rate), *[_score(grid, Place(rate, steps)) for steps in grid.steps]]
        for rate in reversed(grid.learning_rates)
    ]
    return markdown(["learning rate", *[f"{steps} steps" for steps in grid.steps]], rows)


def _score(grid: Grid, place: Place) -> str:
    if place not in grid.cells:
        return NOTHING
    score = f"{grid.cells[place].score:.2f}"
    return f"**{score}**" if place == grid.best.place else score


def _cells(grid: Grid) -> str:
    rows = [["the original model", "", "", *[""] * len(QUALITIES), *_numbers(grid.original)]]
    for place in grid.places:
        cell = grid.cells.get(place)
        row = [in_words(place.learning_rate), str(place.steps)]
        if cell is None:
            row += [NOTHING] * (1 + len(QUALITIES) + len(COLUMNS))
        else:
            shares = (cell.score, *cell.qualities.by_name().values())
            row += [f"{value:.2f}" for value in shares] + _numbers(cell.metrics)
        rows.append(row)
    return markdown(["learning rate", "steps", "score", *QUALITIES, *COLUMNS.values()], rows)


def _numbers(metrics: Metrics) -> list[str]:
    numbers = metrics.numbers()
    return [f"{numbers[name]:.2f}" if name in numbers else NOTHING for name in COLUMNS]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns stand under each other, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * (width - 1) + ":" for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(text.rjust(w) for text, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
