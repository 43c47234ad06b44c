r"""The report of a run: `report.html`, one page that needs no network, no script, no other file.

`report.html.j2` is its template. Every value is escaped there.
"""

import base64
import shlex
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from tlab_diffusion.dreambooth.checkpoint.run_record import read_run
from tlab_diffusion.dreambooth.measures.evaluator import Evaluator
from tlab_diffusion.dreambooth.measures.selection import TradeOff
from tlab_diffusion.dreambooth.report.log import REPORT, RunLog, step_of
from tlab_diffusion.evaluation.result import LABELS, Metrics
from tlab_diffusion.evaluation.statistics import Interval
from tlab_diffusion.files import atomic_write
from tlab_diffusion.pipelines.sampler_settings import SOLVERS, SamplerSettings


def write_report(folder: Path, pictures: np.ndarray, evaluator: Evaluator, chosen: int) -> Path:
    r"""Write the report of a run.

    Args:
        folder: the run's output.
        pictures: (N, R, R, 3) uint8, the subject's.
        evaluator: measured the run, or drew its samples.
        chosen: the step whose weights are in the folder.

    Returns:
        The file.
    """
    record, log = read_run(folder), RunLog(folder)
    settings, trade_off = record.settings, log.trade_off()
    verdict = f"The folder holds the weights of step {chosen}."
    texts, sampler = evaluator.fixed_texts, evaluator.settings
    page = _template().render(
        css=_css(),
        title=f"{settings['identifier']}, the {settings['class_noun']}",
        settings=settings,
        chosen=chosen,
        verdict=verdict if trade_off is None else f"{trade_off.why} {verdict}",
        pictures=[_data(_png(picture)) for picture in pictures],
        texts=texts,
        strips=[
            (step_name(step_of(path)), step_of(path), _data(path.read_bytes()))
            for path in log.strips()
        ],
        figures=[(each.title, _data(each.png())) for each in _figures(log.lines, trade_off)],
        **_tables(log, evaluator),
        meanings={name: label.meaning for name, label in LABELS.items()},
        sampler=sampler,
        python=_python(folder, texts[0], sampler),
        shell=f"tlab sample {shlex.quote(texts[0])} --model {shlex.quote(str(folder))}",
        libraries=_libraries(folder),
        record=[(n, v) for n, v in (settings | record.machine).items() if v is not None],
    )
    path = folder / REPORT
    with atomic_write(path) as draft:
        draft.write_text(page, encoding="utf-8")
    return path


def step_name(step: int) -> str:
    """A step as text; step 0 is the original model."""
    return "original" if step == 0 else f"step {step}"


@cache
def _environment() -> Environment:
    # Escaping is on for all templates.
    loader = PackageLoader("tlab_diffusion.dreambooth", "report")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined)


def _template():
    return _environment().get_template("report.html.j2")


def _css() -> str:
    source, _, _ = _environment().loader.get_source(_environment(), "report.css")
    return source


def _figures(lines: list[dict], trade_off: TradeOff | None) -> list:
    from tlab_diffusion.plots import loss_figure, trade_off_figure

    losses = [line for line in lines if "subject_loss" in line]
    by_name = {"subject": [line["subject_loss"] for line in losses]}
    if any(line["prior_loss"] for line in losses):
        by_name["prior"] = [line["prior_loss"] for line in losses]
    figures = [loss_figure([line["step"] for line in losses], by_name)]
    if trade_off is not None:
        steps = list(trade_off.curve)
        figures.append(trade_off_figure(steps, trade_off.curves("balance"), trade_off.best))
    return figures


def _tables(log: RunLog, evaluator: Evaluator) -> dict:
    """The rows of both tables of metrics, (title, step, intervals) each."""
    points = sorted(log.points(), key=lambda point: point.step)
    if not points:
        return {"rows": [], "controls": [], "names": [], "counts": {}, "encoders": ""}
    names = [name for name in LABELS if any(name in p.metrics.numbers() for p in points)]
    last = points[-1].metrics
    return {
        "names": names,
        "rows": [(step_name(step), step, _intervals(each, names)) for step, each in points],
        "controls": [
            (title, None, [intervals.get(name) for name in names])
            for title, intervals in last.controls.items()
        ],
        "counts": last.counts,
        "encoders": log.encoders or evaluator.encoders.name,
    }


def _intervals(metrics: Metrics, names: list[str]) -> list[Interval | None]:
    intervals = metrics.samples | metrics.class_samples
    return [intervals.get(name) for name in names]


def _python(folder: Path, prompt: str, sampler: SamplerSettings) -> str:
    scheduler = SOLVERS[sampler.solver].scheduler
    return (
        f"from diffusers import DiffusionPipeline, {scheduler}\n\n"
        f"pipeline = DiffusionPipeline.from_pretrained({str(folder)!r})\n"
        f"pipeline.scheduler = {scheduler}.from_config(pipeline.scheduler.config)\n"
        f"options = dict(num_inference_steps={sampler.steps}, "
        f"guidance_scale={sampler.guidance_scale:g})\n"
        f"pipeline({prompt!r}, **options).images[0]"
    )


def _libraries(folder: Path) -> list[str]:
    """The oldest libraries that read the folder, as `export_pipeline` recorded them."""
    file = folder / "requirements.txt"
    return file.read_text(encoding="utf-8").split() if file.is_file() else []


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _png(picture: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
