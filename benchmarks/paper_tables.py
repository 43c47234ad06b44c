r"""The paper's experiments in miniature: the numbers that lesson 07 shows (arXiv:2208.12242).

    python -m benchmarks.paper_tables --part 1/2 &     # two processes share the work
    python -m benchmarks.paper_tables --part 2/2
    python -m benchmarks.paper_tables --collect        # writes tlab_diffusion/course/results/

Every subject is learned in every way of `paper_methods`, and draws ten prompts x 4 pictures and 50
of its class, beside the original model: about two minutes each on one CPU core. The pictures of
each (subject, method) are a file of the work folder as soon as they are drawn, so what was stopped
goes on. All methods of a subject come before the next, so what is there can be collected at any
time; it is measured then, by the encoders of that day.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.paper_methods import IDENTIFIER, WAYS, WRONG_NOUNS, asked, class_of, config_of
from tlab_diffusion.course.stored import METHODS, RESULTS
from tlab_diffusion.dreambooth.families import family_of
from tlab_diffusion.dreambooth.measures.sampling import fast_sampler
from tlab_diffusion.dreambooth.presets import native_resolution
from tlab_diffusion.dreambooth.training.trainer import TrainStep, train
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.identity import picturebook_subject
from tlab_diffusion.evaluation.measure import SampleCounts, Samples, compute_metrics, draw_samples
from tlab_diffusion.files import atomic_write
from tlab_diffusion.picturebook import SUBJECTS
from tlab_diffusion.picturebook.grammar import sentence
from tlab_diffusion.pipelines import load
from tlab_diffusion.pipelines.sampler_settings import measuring_settings

COUNTS = SampleCounts()
SHOWN_SUBJECTS = ("pip", "mochi")
SHOWN_PROMPTS = (0, 1, 5, 6)  # two new contexts, an accessory, a style
SHOWN_OF_CLASS = 2

Cell = tuple[str, str]  # subject and method


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    if options.collect:
        print(collect(options.work, options.results))
        return
    part, parts = options.part
    torch.set_num_threads(max(1, torch.get_num_threads() // parts))
    _same_settings(options)
    methods = sorted(options.methods, key=lambda method: method == "original")  # estimates need it
    work = [(name, method) for name in options.subjects for method in methods][part - 1 :: parts]
    missing = [cell for cell in work if not cell_file(options.work, cell).exists()]
    for number, cell in enumerate(missing, start=1):
        seconds = make_cell(cell, options)
        done = f"{'-'.join(cell)}: {sum(seconds):.0f} s ({number} of {len(missing)})"
        print(f"{done}, {_estimate(missing[number:], *seconds)}", flush=True)


def make_cell(cell: Cell, options: argparse.Namespace) -> tuple[float, float]:
    """Train one subject and method, and keep what it draws; the seconds of both."""
    name, method = cell
    start = time.perf_counter()
    folder = options.work / "runs" / "-".join(cell)
    shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
    pipeline = load(options.model if method == "original" else tuned(cell, folder, options))
    trained = time.perf_counter()
    drawn = draw_samples(
        fast_sampler(pipeline), picturebook_subject(name), asked(*cell), counts=COUNTS
    )
    shutil.rmtree(folder, ignore_errors=True)
    seconds = (trained - start, time.perf_counter() - trained)
    with atomic_write(cell_file(options.work, cell)) as draft, draft.open("wb") as opened:
        np.savez(opened, seconds=np.array(seconds), **drawn._asdict())
    return seconds


def tuned(cell: Cell, folder: Path, options: argparse.Namespace) -> Path:
    """Learn a subject, and say where the pipeline lies."""
    config = config_of(*cell, model=options.model, output=folder, steps=options.steps)
    references = picturebook_subject(cell[0]).references
    for event in train(config, references, cache=options.work / "cache"):
        if isinstance(event, TrainStep) and event.step % 100 == 0:
            print(f"  {'-'.join(cell)}: step {event.step}, loss {event.loss:.3f}", flush=True)
    return folder


def strip(drawn: Samples) -> np.ndarray:
    """The first picture of each prompt to be shown, and some of the class: (64, N * 64, 3)."""
    pictures = [drawn.of_prompts[i * COUNTS.per_prompt] for i in SHOWN_PROMPTS]
    return np.concatenate([*pictures, *drawn.of_class[:SHOWN_OF_CLASS]], axis=1)


def collect(work: Path, results: Path) -> str:
    r"""Measure and write what every method has drawn of the subjects that all have learned.

    Says what there is.

    Raises:
        InputError: if there are none.
    """
    done = [s for s in SUBJECTS if all(cell_file(work, (s, m)).exists() for m in METHODS)]
    if not done:
        raise InputError("work", got=str(work), expected="a subject that every method has learned")
    cells = {m: {s: _drawn_by(cell_file(work, (s, m))) for s in done} for m in METHODS}
    shown = [name for name in SHOWN_SUBJECTS if name in done] or done[:1]
    seconds = sum(taken for row in cells.values() for _, taken in row.values())
    settings = _read(work / "settings.json") | {
        "wrong_nouns": {name: WRONG_NOUNS[class_of(name)] for name in done},
        "minutes": round(seconds / 60),
        "shown": {name: captions(name) for name in shown},
    }
    methods = {m: {s: measured((s, m), row[s][0]) for s in done} for m, row in cells.items()}
    _write(results / "tables.json", {"settings": settings, "methods": _rounded(methods)})
    rows = [[strip(cells[m][s][0]) for s in shown] for m in METHODS]
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    Image.fromarray(sheet).save(results / "tables.webp", quality=92, method=6)
    return f"{len(done)} of {len(SUBJECTS)} subjects, {settings['minutes']} minutes, in {results}"


def measured(cell: Cell, drawn: Samples) -> dict:
    """The metrics of what one subject and method drew, ready for JSON."""
    return compute_metrics(
        drawn, picturebook_subject(cell[0]), asked(*cell), counts=COUNTS
    ).as_dict()


def captions(name: str) -> list[str]:
    """What the columns of the sheet show, with [V] for the identifier."""
    texts = [asked(name, "dreambooth")[i].text for i in SHOWN_PROMPTS]
    of_class = [sentence({"class_noun": class_of(name)})] * SHOWN_OF_CLASS
    return [text.replace(IDENTIFIER, "[V]") for text in texts] + of_class


def cell_file(work: Path, cell: Cell) -> Path:
    return work / "cells" / f"{'-'.join(cell)}.npz"


def _drawn_by(file: Path) -> tuple[Samples, float]:
    """What a cell drew, and the seconds that it took in all."""
    with np.load(file) as kept:
        return Samples(*(kept[name] for name in Samples._fields)), float(kept["seconds"].sum())


def _same_settings(options: argparse.Namespace) -> None:
    """Refuse a work folder of another model or of other settings: its cells would not compare."""
    run = {"model": options.model, "output": Path("none"), "steps": options.steps}
    configs = {way: config_of(SHOWN_SUBJECTS[0], way, **run) for way in WAYS}
    sampler = measuring_settings(native_resolution(options.model))
    pipeline = load(options.model)
    settings = {
        "model": options.model,
        "fingerprint": family_of(pipeline).fingerprint(pipeline),
        "identifier": IDENTIFIER,
        "training": {way: config.as_dict() for way, config in configs.items()},
        "sampler_steps": sampler.steps,
        "guidance_scale": sampler.guidance_scale,
    }
    file = options.work / "settings.json"
    if file.exists() and _read(file) != settings:
        expected = "a folder of the same model and settings, or a new one"
        raise InputError("work", got=str(options.work), expected=expected)
    _write(file, settings)


def _estimate(left: Sequence[Cell], training: float, measuring: float) -> str:
    """How long the rest takes, if it goes on like the cell just done."""
    to_train = sum(method != "original" for _, method in left)
    return f"about {(len(left) * measuring + to_train * training) / 60:.0f} minutes to go"


def _write(file: Path, content: dict) -> None:
    """Whole or not at all: a kill leaves no half file behind."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(content) + "\n", encoding="utf-8")
    draft.replace(file)


def _rounded(value: object) -> object:
    """Four digits behind the point: no interval is narrower."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value


def _read(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("work/paper_tables"))
    parser.add_argument("--part", type=_part, default=(1, 1), metavar="K/N")
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--model", default="picturebook")
    parser.add_argument("--steps", type=int, help="of training; each method's own if left out")
    parser.add_argument("--collect", action="store_true", help="write the results and stop")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


def _part(text: str) -> tuple[int, int]:
    part, parts = map(int, text.split("/"))
    if not 1 <= part <= parts:
        raise argparse.ArgumentTypeError(f"{text} is no part, as 1/2 is")
    return part, parts


if __name__ == "__main__":
    main()
