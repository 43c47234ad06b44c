r"""Steps of `tlab dreambooth` against diffusers' own script: equal losses, in less time.

    python -m benchmarks.dreambooth_speed --script train_dreambooth.py

The script runs as it is. Download it from diffusers' repository, at the tag of the version that is
installed (`--help` shows the address); it imports torchvision, which nothing else here needs.

Both train the same U-Net on the same pictures with the same batch, in float32 on one thread, the
text encoder frozen. They take turns, and who comes first changes from pair to pair. A pair is
judged by the median step's processor time, which another program on the same core hardly changes;
the time on the clock stands beside it.

What cached latents and cached text must gain is counted: theirs does the operations of the U-Net
(forward and backward), the autoencoder and the text encoder at every step, ours only the U-Net's.
What is gained beyond comes from an optimizer that moves all weights in one pass, and from pictures
that are not read again.
"""

import argparse
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from benchmarks import rival
from benchmarks.operations import Operations, count
from benchmarks.turns import Training, printing_to
from tlab_diffusion.dreambooth.cache import latents
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.data.batches import TrainingSet
from tlab_diffusion.dreambooth.data.images import audit
from tlab_diffusion.dreambooth.families.stable_diffusion import prepare
from tlab_diffusion.dreambooth.training.step import Learner
from tlab_diffusion.dreambooth.training.trainer import train
from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import draw_scenes
from tlab_diffusion.pipelines import load
from tlab_diffusion.training.precision import new_accelerator

PAIRS, STEPS, WARM_UP = 5, 20, 3
PICTURES, CLASS_IMAGES = 5, 8
COMPARED = 5  # steps whose losses are compared
LEAST_SHARE, MOST_APART = 0.9, 1e-5
ENDLESS = 10**6  # steps: a training ends when it has had its turns


@dataclass(frozen=True)
class Case:
    """What both train, and what the script is told to compute only once."""

    prior: bool
    precompute_text: bool

    def __str__(self) -> str:
        prior = "with" if self.prior else "without"
        text = "once (--pre_compute_text_embeddings)" if self.precompute_text else "at each step"
        return f"{prior} prior preservation; the script encodes its prompts {text}"

    def predicted(self, counted: Operations) -> float:
        """How many times as long as ours a step of theirs takes, by counted operations."""
        text = 0 if self.precompute_text else counted.text
        return (counted.unet + counted.vae + text) / counted.unet


CASES = [Case(prior, text) for prior in (False, True) for text in (False, True)]


def main() -> int:
    options = _options()
    try:
        rival.load_script(options.script)  # needs what may be missing
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        good = [compare_losses(options, scratch, prior) for prior in (False, True)]
        counted = count(options.model)
        unet, vae, text = (number / 1e9 for number in counted)
        print(f"\nGFLOP for a sample: U-Net {unet:.2f}, VAE {vae:.2f}, text encoder {text:.2f}")
        good += [compare_speed(options, scratch, case, counted) for case in CASES]
    return 0 if all(good) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = f"train_dreambooth.py, as it lies at {rival.script_url()}"
    parser.add_argument("--script", type=Path, required=True, help=where)
    parser.add_argument("--model", default="picturebook", help="or a pipeline folder")
    parser.add_argument("--batch-size", type=int, default=1, help="with prior: as many on top")
    return parser.parse_args()


def new_config(scratch: Path, pictures: int, **settings: object) -> DreamBoothConfig:
    """Settings for both, and their pictures in folders: of the subject, and of the class."""
    config = DreamBoothConfig(
        **settings,
        subject_images=scratch / "subject",
        identifier="sks",
        class_noun="robot",
        output=scratch / "tuned",
        checkpoint_every=ENDLESS,
        train_text_encoder=False,
        ema_decay=0.0,  # as the script keeps none
        precision="fp32",
    )
    _write(config.subject_images, range(pictures), config.resolution)
    _write(class_folder(config), range(100, 100 + config.num_class_images), config.resolution)
    return config


def class_folder(config: DreamBoothConfig) -> Path:
    """Where the script finds its class pictures, drawn and whole: it draws none."""
    return config.output.with_name("class")


def _write(folder: Path, seeds: range, side: int) -> None:
    folder.mkdir(parents=True)
    for number, picture in enumerate(draw_scenes(seeds, side, processes=1, progress=False)):
        Image.fromarray(picture).save(folder / f"{number}.png")


def compare_losses(options: argparse.Namespace, scratch: Path, prior: bool) -> bool:
    """Both take the same steps with the same draws; print how far the losses are apart."""
    config = new_config(
        scratch / f"losses-{prior}",
        pictures=1,  # one of each kind: the script's order of pictures is its own
        model=options.model,
        batch_size=1,
        max_steps=COMPARED,
        num_class_images=1,
        prior_loss_weight=float(prior),
    )
    ours, draws = our_losses(config)
    script = rival.load_script(options.script)
    run = partial(rival.train, script, config, class_folder(config), precompute_text=False)
    with printing_to(scratch / "losses.log"):
        theirs = rival.losses(run, draws)
    apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    kind = "with" if prior else "without"
    print(f"{kind} prior preservation, the same draws: losses of {COMPARED} steps")
    for name, losses in {"ours": ours, "theirs": theirs}.items():
        print(f"    {name:7}", *(f"{loss:.7f}" for loss in losses))
    print(f"    at most {apart:.1e} apart, bar {MOST_APART:g}", flush=True)
    return apart <= MOST_APART


def our_losses(config: DreamBoothConfig) -> tuple[list[float], list[torch.Tensor]]:
    """The losses of our learner, and what it draws, in the order in which the script asks."""
    accelerator = new_accelerator("fp32")
    pipeline = load(config.model, accelerator.device)
    subject, other = (
        latents.latent_distributions(
            pipeline.vae, audit(folder, config.resolution).pictures, folder.parent / "cache", ""
        )
        for folder in (config.subject_images, class_folder(config))
    )
    means, _ = other.chunk(2, dim=1)
    schedule = pipeline.scheduler.alphas_cumprod.cpu()
    kind = pipeline.scheduler.config.prediction_type
    data = TrainingSet(config, subject, means if config.with_prior else None, schedule, kind)
    learner = Learner(prepare(pipeline, config), config, accelerator, None)
    losses = [sum(learner.step(data)) for _ in range(config.max_steps)]
    return losses, list(rival.our_draws(config, means.shape[1:], len(schedule)))


def compare_speed(
    options: argparse.Namespace, scratch: Path, case: Case, counted: Operations
) -> bool:
    """Print the pairs of a case: is ours faster in each, and by as much as was counted?"""
    scratch = scratch / f"speed-{case.prior}-{case.precompute_text}"
    config = new_config(
        scratch,
        pictures=PICTURES,
        model=options.model,
        batch_size=options.batch_size,
        max_steps=ENDLESS,
        num_class_images=CLASS_IMAGES,
        prior_loss_weight=float(case.prior),
    )
    print(f"\nbatch {config.batch_size}, {case}")
    with (
        Training(partial(train_ours, config), scratch / "ours.log") as ours,
        Training(partial(train_theirs, config, options.script, case), scratch / "log") as theirs,
    ):
        ratios = [_pair(ours, theirs, number) for number in range(PAIRS)]
    predicted, median = case.predicted(counted), statistics.median(ratios)
    share = (median - 1) / (predicted - 1)
    print(f"    median x {median:.2f}; counted operations x {predicted:.2f}: ", end="")
    print(f"{share:.0%} of the counted gain, bar {LEAST_SHARE:.0%}", flush=True)
    return min(ratios) > 1 and share >= LEAST_SHARE


def train_ours(config: DreamBoothConfig) -> None:
    """Train as `tlab dreambooth` does."""
    pictures = audit(config.subject_images, config.resolution).pictures
    for _ in train(config, pictures, cache=config.output.with_name("cache")):
        pass


def train_theirs(config: DreamBoothConfig, script: Path, case: Case) -> None:
    """Train as the script does."""
    config = replace(config, output=config.output.with_name("theirs"))
    module, classes = rival.load_script(script), class_folder(config)
    rival.train(module, config, classes, precompute_text=case.precompute_text)


def _pair(ours: Training, theirs: Training, number: int) -> float:
    """Both take a turn, ours first in even pairs; theirs through ours."""
    first, second = (ours, theirs) if number % 2 == 0 else (theirs, ours)
    medians = {}
    for training in (first, second):
        if not number:
            training.steps(WARM_UP)
        processor, clock = zip(*training.steps(STEPS), strict=True)
        medians[training] = statistics.median(processor), statistics.median(clock)
    (a, a_clock), (b, b_clock) = medians[ours], medians[theirs]
    times = f"ours {1e3 * a:.1f} ms of processor, theirs {1e3 * b:.1f} ms"
    ratios = f"x {b / a:.2f} (on the clock x {b_clock / a_clock:.2f})"
    print(f"    pair {number + 1}: {times}, {ratios}", flush=True)
    return b / a


if __name__ == "__main__":
    raise SystemExit(main())
