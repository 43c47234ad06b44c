r"""Speed and memory of `tlab dreambooth` on a GPU, at Stable Diffusion 1.5's size.

    python -m benchmarks.gpu [--json FILE] [--model FOLDER]

For batches of 1 + 1 to 8 + 8 pictures of 512 x 512, with and without gradient checkpointing: steps
and pictures a second, memory, and the share of the ceiling. The ceiling is the speed of a large
matrix product, measured first, through the counted operations of a picture: three times the U-Net's
forward pass, 2.41 TFLOP. Then how fast class pictures are drawn, and where a step's time goes.

Weights are random unless a folder is named; no time depends on them. It runs on a CPU too, where
only a small model is bearable.
"""

import argparse
import gc
import itertools
import json
import platform
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import torch
from PIL import Image
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.stable_diffusion_size import save_random_pipeline
from tlab_diffusion.dreambooth.cache.class_images import MAX_BATCH_SIZE
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.families import family_of
from tlab_diffusion.dreambooth.preflight.checks import Preflight, preflight
from tlab_diffusion.dreambooth.preflight.resources import forward_cost
from tlab_diffusion.dreambooth.training.trainer import Event, PriorImages, TrainStep, train
from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import render, subject_scenes
from tlab_diffusion.pipelines import check_model
from tlab_diffusion.training import hardware
from tlab_diffusion.training.hardware import run_device
from tlab_diffusion.training.precision import DTYPES, choose_precision

MIB = 2**20
BATCHES = (1, 2, 4, 8)
PROFILED, COSTLIEST = 4, 5  # batch; operations named
WARM_UP = 3
CLASS_IMAGES = 3 * MAX_BATCH_SIZE
ENDLESS = 10**6  # steps: a run ends when enough of it has been seen, and saves nothing
HEAD = "  batch  checkpointing  parts   steps/s   images/s  ceiling   MiB held  estimated"
LINE = (
    "{parts:6} {steps_per_second:9.2f} {images_per_second:10.1f} {share_of_ceiling:8.0%} "
    "{most_memory_mib:10.0f} {estimated_memory_mib:10.0f}"
)


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        model = options.model
        if model is None:
            model = scratch / "model"
            save_random_pipeline(model)
        report = measure(model, scratch, options.precision, options.steps)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a pipeline folder, instead of random weights")
    parser.add_argument("--precision", default="auto", help="fp32, bf16 or fp16")
    parser.add_argument("--steps", type=int, default=20, help="timed, for each row")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    return parser.parse_args(arguments)


def measure(model: str | Path, scratch: Path, precision: str, steps: int) -> dict:
    """Measure everything, and print it as it comes; the numbers as JSON can hold them."""
    device = run_device()
    precision = choose_precision(precision, device)
    speed = hardware.measured_speed(device, DTYPES[precision])
    flops = 3 * forward_flops(Path(check_model(model)))
    report = {
        "device": device_name(device),
        "torch": torch.__version__,
        "precision": precision,
        "matrix_product_flops": speed,
        "flops_per_image": flops,
    }
    print(f"{report['device']}, torch {torch.__version__}, {precision}")
    print(f"a matrix product: {speed / 1e12:.2f} TFLOP/s; a picture: {flops / 1e12:.4f} TFLOP;")
    print(f"ceiling: {speed / flops:.1f} images/s\n")
    trials = Trials(model, scratch, precision)
    report["prior_images_per_second"] = trials.prior_rate()
    print(f"class pictures: {report['prior_images_per_second']:.2f} images/s\n\n{HEAD}")
    report["rows"] = []
    for checkpointing, batch in itertools.product((False, True), BATCHES):
        report["rows"].append(trials.row(batch, checkpointing, steps, ceiling=speed / flops))
    report["costliest"] = trials.costliest()
    return report


def forward_flops(folder: Path) -> int:
    """Operations of the network's forward pass for one picture."""
    text = json.loads((folder / "text_encoder/config.json").read_text(encoding="utf-8"))
    family, tokens = family_of(folder), text["max_position_embeddings"]
    with torch.device("meta"):
        network = family.empty_network(folder)
        inputs = family.example_inputs(folder, family.native_resolution(folder), tokens)
    options = {"fused_attention": False, "checkpointing": False}
    return forward_cost(family, network, inputs, **options).flops


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


class Trials:
    """Runs of the trainer on the same pictures, each seen for some steps only."""

    def __init__(self, model: str | Path, scratch: Path, precision: str):
        self.scratch, self.device, self.runs = scratch, run_device(), itertools.count()
        self.settings = {
            "subject_images": scratch / "pictures",
            "identifier": "sks",
            "class_noun": "robot",
            "model": str(model),
            "max_steps": ENDLESS,
            "checkpoint_every": ENDLESS,
            "num_class_images": CLASS_IMAGES,
            "precision": precision,
        }
        side = self.config().resolution
        (scratch / "pictures").mkdir()
        for number, scene in enumerate(subject_scenes("pip")):
            Image.fromarray(render(scene, side)).save(scratch / f"pictures/{number}.png")

    def config(self, **changes: object) -> DreamBoothConfig:
        output = self.scratch / f"run-{next(self.runs)}"
        return DreamBoothConfig(output=output, **self.settings | changes)

    def prior_rate(self) -> float:
        """Class pictures a second; the first batch is left out. Later runs find them drawn."""
        marks = []
        with self._events(preflight(self.config())) as events:
            for event in events:
                if isinstance(event, PriorImages):
                    marks.append((event.done, time.perf_counter()))
                if isinstance(event, TrainStep):
                    break
        _, (first, began), *_, (last, ended) = marks
        return (last - first) / (ended - began)

    def row(self, batch: int, checkpointing: bool, steps: int, ceiling: float) -> dict:
        """Time one setting, and print it; what is wrong, where it does not fit into memory."""
        fresh_memory(self.device)
        row = {"batch": batch, "gradient_checkpointing": checkpointing}
        print(f"{batch:3} + {batch} {checkpointing!s:>14} ", end="")
        try:
            found = preflight(self.config(batch_size=batch, gradient_checkpointing=checkpointing))
            with self._training(found) as training:
                began = now(self.device)
                for _ in range(steps):
                    next(training)
                rate = steps / (now(self.device) - began)
        except (InputError, torch.OutOfMemoryError) as error:
            print(error, flush=True)
            return row | {"problem": str(error)}
        row |= {
            "parts": found.config.gradient_accumulation_steps,  # that preflight made of a step
            "steps_per_second": rate,
            "images_per_second": 2 * batch * rate,
            "share_of_ceiling": 2 * batch * rate / ceiling,
            "most_memory_mib": most_memory(self.device) / MIB,
            "estimated_memory_mib": found.estimate.memory / MIB,
        }
        print(LINE.format(**row), flush=True)
        return row

    def costliest(self) -> list[dict]:
        """The operations that take most of a step's time, and print them."""
        fresh_memory(self.device)
        on_gpu = self.device.type == "cuda"
        activities = [ProfilerActivity.CPU, *on_gpu * [ProfilerActivity.CUDA]]
        found = preflight(self.config(batch_size=PROFILED))
        with self._training(found) as training, profile(activities=activities) as seen:
            for _ in range(WARM_UP):
                next(training)
            now(self.device)
        seconds = {
            each.key: (each.self_device_time_total if on_gpu else each.self_cpu_time_total) / 1e6
            for each in seen.key_averages()
            if each.device_type == DeviceType.CPU  # operations; a GPU's kernels are in their time
        }
        whole, names = sum(seconds.values()), sorted(seconds, key=seconds.get, reverse=True)
        costliest = [{"name": n, "share": seconds[n] / whole} for n in names[:COSTLIEST]]
        print(f"\ncostliest operations of a step at {PROFILED} + {PROFILED}")
        for each in costliest:
            print(f"{each['share']:7.1%}  {each['name']}")
        return costliest

    @contextmanager
    def _training(self, found: Preflight) -> Iterator[Iterator[Event]]:
        """The steps of a run, past the first ones, which are slower."""
        with self._events(found) as events:
            steps = (event for event in events if isinstance(event, TrainStep))
            for _ in range(WARM_UP):
                next(steps)
            yield steps

    def _events(self, found: Preflight) -> closing:
        return closing(train(found.config, found.pictures, cache=self.scratch / "cache"))


def now(device: torch.device) -> float:
    """The time after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def fresh_memory(device: torch.device) -> None:
    """Free the memory of the previous run and reset its peak."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def most_memory(device: torch.device) -> int:
    """Bytes held at most: on a GPU since the run's start, else by this process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    raise SystemExit(main())
