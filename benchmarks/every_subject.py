r"""Every subject of the course, learnt with the default settings of `tlab dreambooth`.

    python -m benchmarks.every_subject        # 45 minutes of one core

For each subject: its pictures, a timed `tlab dreambooth` with an empty cache, and `tlab evaluate`
of the result with other noise than that by which the run chose its step. It prints one line for
each subject, then the means over subjects with 95 % intervals. The results of a subject are stored
in the work folder, so an interrupted benchmark continues.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.paper_methods import IDENTIFIER, class_of
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.evaluation.statistics import mean_interval
from tlab_diffusion.files import atomic_write
from tlab_diffusion.picturebook import SUBJECTS

OTHER_SEED = "1"  # a run measures itself with the noise of seed 0
IN_CONTEXTS = "in new contexts: "
COLUMNS = (
    *("seconds", "identity", "place", "prompt_accuracy", "copies"),
    *(IN_CONTEXTS + "identity", IN_CONTEXTS + "place"),
    *("pres", "original pres", "distance kept", "variety kept"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("work/every_subject"))
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--model", default="picturebook")
    options = parser.parse_args(arguments)
    rows = {}
    for name in options.subjects:
        file = options.work / f"{name}.json"
        if not file.exists():
            learn(name, options.model, file)
        rows[name] = row(json.loads(file.read_text(encoding="utf-8")))
        said = ", ".join(f"{column} {value:.2f}" for column, value in rows[name].items())
        print(f"{name}: {said}", flush=True)
    print("\nmeans over the subjects, with 95 % intervals")
    for column in COLUMNS:
        print(f"{column:28}{mean_interval([each[column] for each in rows.values()])}")


def learn(name: str, model: str, file: Path) -> None:
    """Run the commands of one subject; write its metrics and the time to a file."""
    folder = file.parent / name
    shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
    pictures, tuned = folder / "pictures", folder / "tuned"
    about = ["--identifier", IDENTIFIER, "--class-noun", class_of(name)]
    about += ["--subject-images", str(pictures)]
    tlab(folder, "subject", name, "--out", str(pictures))
    start = time.perf_counter()
    tlab(folder, "dreambooth", *about, "--model", model, "--output", str(tuned))
    seconds = time.perf_counter() - start
    report = folder / "evaluation.json"
    told = ["--model", str(tuned), "--seed", OTHER_SEED, "--json", str(report)]
    tlab(folder, "evaluate", *about, *told)
    found = json.loads(report.read_text(encoding="utf-8")) | {"seconds": seconds}
    with atomic_write(file) as draft:
        draft.write_text(json.dumps(found), encoding="utf-8")


def tlab(folder: Path, *words: str) -> None:
    """Run a command with a cache inside the folder, and append its output to a log there.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        command = [sys.executable, "-m", "tlab_diffusion.cli", *words]
        subprocess.run(command, env=environment, stdout=log, stderr=log, check=True)


def row(found: dict) -> dict[str, float]:
    """The numbers of one subject, from the file of `tlab evaluate`."""
    metrics = Metrics.from_dict(found["tuned"])
    tuned, original = metrics.numbers(), Metrics.from_dict(found["original"]).numbers()
    contexts = metrics.uses["context"]
    known = tuned | {
        "seconds": found["seconds"],
        **{IN_CONTEXTS + name: contexts[name].mean for name in ("identity", "place")},
        "original pres": original["pres"],
        "distance kept": (1 - tuned["pres"]) / (1 - original["pres"]),
        "variety kept": tuned["class_div"] / original["class_div"],
    }
    return {name: known[name] for name in COLUMNS}


if __name__ == "__main__":
    main()
