r"""Time of a training step: `tlab dreambooth` beside diffusers' own script.

    python -m benchmarks.dreambooth_speed --script train_dreambooth.py

The script runs as it is. Download it from diffusers' repository at the tag of the installed version
(`--help` shows the address). It imports torchvision, which nothing else here needs.

Both train the same U-Net on the same pictures with the same batch, in float32 on one thread, with
the text encoder frozen. Each run is a process of its own. The runs alternate in pairs, and the one
that comes first changes from pair to pair. A step lasts from one optimizer step to the next, so all
that a trainer does for it counts. A pair compares the median processor time of a step, which other
programs on the same core hardly change. `tests/dreambooth/training/test_trainer.py` proves that
both compute the same loss.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image
from torch.optim.optimizer import register_optimizer_step_post_hook

from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.data.images import audit
from tlab_diffusion.dreambooth.presets import PAPER
from tlab_diffusion.dreambooth.training.trainer import train
from tlab_diffusion.picturebook import draw_scenes
from tlab_diffusion.pipelines import check_model

URL = (
    "https://raw.githubusercontent.com/huggingface/diffusers/v{version}"
    "/examples/dreambooth/train_dreambooth.py"
)
PAIRS, STEPS, WARM_UP = 5, 20, 3
PICTURES, CLASS_IMAGES = 5, 8
ENDLESS = 10**6  # steps: a run ends when it has been timed


def main() -> int:
    options = _options()
    if options.child:
        _run_child(options)
    if not options.script.is_file():
        print(f"--script: {options.script} is no file; it lies at {script_url()}", file=sys.stderr)
        return 2
    return int(not all(compare(options, prior) for prior in (False, True)))


def compare(options: argparse.Namespace, prior: bool) -> bool:
    """Print the pairs with or without the prior loss; True if ours is faster in each."""
    print(f"\nbatch {options.batch_size}, {'with' if prior else 'without'} the prior loss")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), new_config(options, Path(folder), prior))
        for number in range(PAIRS):
            order = ("ours", "theirs") if number % 2 == 0 else ("theirs", "ours")
            seconds = {name: step_time(options, Path(folder), name, prior) for name in order}
            ratios.append(seconds["theirs"] / seconds["ours"])
            times = ", ".join(f"{name} {1e3 * seconds[name]:.1f} ms" for name in ("ours", "theirs"))
            print(f"    pair {number + 1}: {times}, x {ratios[-1]:.2f}", flush=True)
    print(f"    median x {statistics.median(ratios):.2f}", flush=True)
    return min(ratios) > 1


def step_time(options: argparse.Namespace, folder: Path, name: str, prior: bool) -> float:
    """Run one of the two in a process of its own; median processor seconds of a step."""
    command = [sys.executable, "-m", "benchmarks.dreambooth_speed", "--child", name]
    command += ["--folder", str(folder), "--script", str(options.script), "--model", options.model]
    command += ["--batch-size", str(options.batch_size)] + (["--prior"] if prior else [])
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (folder / f"{name}.log").open("w") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    result = folder / f"{name}.json"
    if done.returncode or not result.is_file():
        raise RuntimeError((folder / f"{name}.log").read_text())
    seconds = json.loads(result.read_text())
    result.unlink()
    return seconds


def _run_child(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    config = new_config(options, options.folder, options.prior)
    moves: list[float] = []

    def note_step(*_: object) -> None:
        moves.append(time.process_time())
        if len(moves) > WARM_UP + STEPS:
            seconds = statistics.median(b - a for a, b in pairwise(moves[WARM_UP:]))
            (options.folder / f"{options.child}.json").write_text(json.dumps(seconds))
            os._exit(0)

    register_optimizer_step_post_hook(note_step)
    if options.child == "ours":
        pictures = audit(config.subject_images, config.resolution).pictures
        for _ in train(config, pictures, cache=options.folder / "cache"):
            pass
    else:
        run_script(options.script, config, options.folder)


def run_script(path: Path, config: DreamBoothConfig, folder: Path) -> None:
    """Run diffusers' script to its end, with the settings of a run of ours."""
    spec = importlib.util.spec_from_file_location("train_dreambooth", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    settings = {
        "pretrained_model_name_or_path": Path(check_model(config.model)).resolve(),
        "instance_data_dir": config.subject_images,
        "instance_prompt": config.instance_prompt,
        "output_dir": folder / "theirs",
        "resolution": config.resolution,
        "train_batch_size": config.batch_size,
        "max_train_steps": config.max_steps,
        "learning_rate": config.learning_rate,
        "adam_epsilon": config.adam_epsilon,
        "checkpointing_steps": config.max_steps + 1,
        "seed": config.seed,
        "mixed_precision": "no",
    }
    flags = []
    if config.with_prior:
        flags = ["--with_prior_preservation"]
        settings |= {
            "class_data_dir": folder / "class",
            "class_prompt": config.class_prompt,
            "num_class_images": config.num_class_images,
            "prior_loss_weight": config.prior_loss_weight,
        }
    named = [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
    arguments = script.parse_args(named + flags)
    arguments.report_to = None  # no tensorboard
    script.main(arguments)


def new_config(options: argparse.Namespace, folder: Path, prior: bool) -> DreamBoothConfig:
    """The settings of both runs."""
    return DreamBoothConfig(
        subject_images=folder / "subject",
        identifier="sks",
        class_noun="robot",
        output=folder / f"ours-{os.getpid()}",  # each run is a new one
        model=options.model,
        batch_size=options.batch_size,
        max_steps=ENDLESS,
        checkpoint_every=ENDLESS,
        num_class_images=CLASS_IMAGES,
        prior=PAPER,  # the script's
        prior_loss_weight=float(prior),
        train_text_encoder=False,
        ema_decay=0.0,  # the script keeps no average
        precision="fp32",
    )


def write_pictures(folder: Path, config: DreamBoothConfig) -> None:
    """The subject's pictures and the class's, which the script reads from a folder."""
    for name, seeds in (("subject", range(PICTURES)), ("class", range(100, 100 + CLASS_IMAGES))):
        (folder / name).mkdir()
        scenes = draw_scenes(seeds, config.resolution, processes=1, progress=False)
        for number, picture in enumerate(scenes):
            Image.fromarray(picture).save(folder / name / f"{number}.png")


def script_url() -> str:
    """The address of the script of the installed diffusers."""
    from diffusers import __version__

    return URL.format(version=__version__)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = f"train_dreambooth.py, as it lies at {script_url()}"
    parser.add_argument("--script", type=Path, required=True, help=where)
    parser.add_argument("--model", default="picturebook", help="or a pipeline folder")
    parser.add_argument("--batch-size", type=int, default=1, help="with prior: as many on top")
    parser.add_argument("--child", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--prior", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
