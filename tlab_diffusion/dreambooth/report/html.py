r"""The report of a run: `report.html`, one page with everything in it, for any browser.

It needs no network, no script and no other file, so it can be kept or sent as it is.
"""

import shlex
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from tlab_diffusion.dreambooth.checkpoint.run_record import RunRecord, read_run
from tlab_diffusion.dreambooth.measures.evaluator import Evaluator
from tlab_diffusion.dreambooth.measures.selection import Point, TradeOff
from tlab_diffusion.dreambooth.report.log import RunLog, step_of
from tlab_diffusion.dreambooth.report.markup import Html, element, image, table
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.evaluation.statistics import Interval
from tlab_diffusion.files import atomic_write

REPORT = "report.html"
# What a reader looks at first; the rest is in metrics.jsonl.
METRICS = {
    "identity": "pictures that show the subject and copy no reference",
    "prompt_accuracy": "pictures that show everything the prompt asks for",
    "dino": "likeness to the references, by an encoder of pictures",
    "clip_i": "the same, by an encoder of pictures and words",
    "clip_t": "likeness to the prompt",
    "copies": "pictures that copy a reference",
    "pres": "likeness of the bare class to the references: high where the class was lost",
    "class_div": "variety of the bare class",
}
CONTROLS = (
    "What others would get: the references among themselves, one who copies them, strangers of the "
    "class, and the subject itself, as far as the picture book can draw these."
)
# Nothing is loaded from anywhere: a browser is told to refuse what would be.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_report(folder: Path, pictures: np.ndarray, evaluator: Evaluator, chosen: int) -> Path:
    r"""Write the report of a run.

    Args:
        folder: the run's output.
        pictures: (N, R, R, 3) uint8, the subject's.
        evaluator: measured the run, or drew for it.
        chosen: the step whose weights the folder has.

    Returns:
        The file.
    """
    record, log = read_run(folder), RunLog(folder)
    settings = record.settings
    points, trade_off = log.points(), log.trade_off()
    sections = [
        _head(settings, chosen, trade_off),
        _subject(pictures),
        _samples(log.strips(), evaluator.fixed_texts, chosen),
        _curves(log.lines(), trade_off),
        _measured(points, chosen, log.encoders or evaluator.encoders.name) if points else "",
        _loading(folder, evaluator.fixed_texts[0], evaluator.settings.guidance_scale),
        _settings(record),
    ]
    path = folder / REPORT
    with atomic_write(path) as draft:
        draft.write_text(_page(_title(settings), sections), encoding="utf-8")
    return path


def _page(title: str, sections: list[Html]) -> str:
    style = (
        files("tlab_diffusion.dreambooth.report").joinpath("report.css").read_text(encoding="utf-8")
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(style)),
    )
    body = element("body", element("main", *sections))
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def _title(settings: dict) -> str:
    return f"{settings['identifier']}, the {settings['class_noun']}"


def _head(settings: dict, chosen: int, trade_off: TradeOff | None) -> Html:
    what = (
        f"{settings['method']} on {settings['model']}, {settings['max_steps']} steps "
        f"at a learning rate of {settings['learning_rate']:g}"
    )
    verdict = f"The folder holds the weights of step {chosen}."
    if trade_off is not None:
        verdict = f"{trade_off.why} {verdict}"
    return element(
        "header",
        element("h1", _title(settings)),
        element("p", what, class_="what"),
        element("p", verdict, class_="verdict"),
    )


def _subject(pictures: np.ndarray) -> Html:
    shown = [
        image(_png(picture), f"picture {number} of the subject")
        for number, picture in enumerate(pictures, start=1)
    ]
    return _section("The pictures it learnt from", element("div", *shown, class_="pictures"))


def _samples(strips: list[Path], texts: list[str], chosen: int) -> Html:
    rows = [element("div", *[element("span", text) for text in texts], class_="texts")]
    for path in strips:
        step = step_of(path)
        words = f"{_name(step)}: " + "; ".join(texts)
        rows.append(
            element(
                "div",
                element("span", _name(step), class_="step"),
                image(path.read_bytes(), words),
                class_="strip chosen" if step == chosen else "strip",
            )
        )
    note = "Every row starts from the same noise; only the weights differ."
    return _section("What it drew", element("p", note), element("div", *rows, class_="strips"))


def _curves(lines: list[dict], trade_off: TradeOff | None) -> Html:
    from tlab_diffusion.plots import loss_figure, trade_off_figure

    losses = [line for line in lines if "subject_loss" in line]
    by_name = {"subject": [line["subject_loss"] for line in losses]}
    if any(line["prior_loss"] for line in losses):
        by_name["prior"] = [line["prior_loss"] for line in losses]
    figures = [loss_figure([line["step"] for line in losses], by_name)]
    if trade_off is not None:
        steps = list(trade_off.curve)
        figures.append(trade_off_figure(steps, trade_off.curves("balance"), trade_off.best))
    drawn = [element("figure", image(each.png(), each.title)) for each in figures]
    return _section("How it went", element("div", *drawn, class_="figures"))


def _measured(points: list[Point], chosen: int, encoders: str) -> Html:
    points = sorted(points, key=lambda point: point.step)
    names = [name for name in METRICS if any(name in p.metrics.numbers() for p in points)]
    steps = [point.step for point in points]
    rows = [[_name(step), *_cells(metrics, names)] for step, metrics in points]
    last = points[-1].metrics
    controls = [
        [name, *[_cell(scores.get(each)) for each in names]]
        for name, scores in last.controls.items()
    ]
    note = (
        f"Of each of {last.counts['prompts']} prompts {last.counts['per_prompt']}, and of the bare "
        f"class {last.counts['per_class']} pictures at each step, computed by {encoders}. "
        "Small numbers: 95 % intervals over prompts, of the bare class over its pictures."
    )
    words = [part for name in names for part in (element("dt", name), element("dd", METRICS[name]))]
    return _section(
        "Metrics",
        element("p", note),
        table(["", *names], rows, steps.index(chosen) if chosen in steps else None),
        element("dl", *words),
        element("h3", "Controls"),
        element("p", CONTROLS),
        table(["", *names], controls),
    )


def _name(step: int) -> str:
    return "original" if step == 0 else f"step {step}"


def _cells(metrics: Metrics, names: list[str]) -> list[Html]:
    scores = metrics.samples | metrics.class_samples
    return [_cell(scores.get(name)) for name in names]


def _cell(score: Interval | None) -> Html:
    if score is None:
        return Html("–")
    mean = element("span", f"{score.mean:.2f}")
    if score.low is None:
        return mean
    return Html(mean + element("small", f"{score.low:.2f} to {score.high:.2f}"))


def _loading(folder: Path, prompt: str, guidance_scale: float) -> Html:
    python = (
        "from diffusers import DiffusionPipeline\n\n"
        f"pipeline = DiffusionPipeline.from_pretrained({str(folder)!r})\n"
        f"pipeline({prompt!r}, guidance_scale={guidance_scale:g}).images[0]"
    )
    shell = (
        f"tlab sample {shlex.quote(prompt)} --model {shlex.quote(str(folder))} "
        f"--guidance-scale {guidance_scale:g}"
    )
    return _section(
        "How to use it",
        element("pre", element("code", python)),
        element("p", "Or in a terminal:"),
        element("pre", element("code", shell)),
    )


def _settings(record: RunRecord) -> Html:
    shown = record.settings | record.machine
    words = [
        part
        for name, value in shown.items()
        if value is not None
        for part in (element("dt", name.replace("_", " ")), element("dd", value))
    ]
    return _section("Settings and machine", element("dl", *words))


def _section(title: str, *content: Html | str) -> Html:
    return element("section", element("h2", title), *content)


def _png(picture: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
