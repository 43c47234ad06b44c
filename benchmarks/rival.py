r"""diffusers' own DreamBooth script, driven from outside: no line of it is changed.

It is called as from a shell, and watched through what torch and accelerate offer anyhow.
"""

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.data.batches import SAMPLE
from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines import check_model
from tlab_diffusion.training.generators import generator_for

URL = (
    "https://raw.githubusercontent.com/huggingface/diffusers/v{version}"
    "/examples/dreambooth/train_dreambooth.py"
)
DRAWN = (torch.randn, torch.randn_like, torch.randint)  # by a step of the script


def script_url() -> str:
    """Where the script of the installed diffusers lies."""
    from diffusers import __version__

    return URL.format(version=__version__)


def load_script(path: Path) -> ModuleType:
    """The script as a module, as it is.

    Raises:
        InputError: no such file, or a package that it needs is missing.
    """
    if not path.is_file():
        raise InputError("--script", got=f"{path}, which is no file", expected=script_url())
    spec = importlib.util.spec_from_file_location("train_dreambooth", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise InputError(
            "--script", got=str(error), expected="what the script imports, torchvision too"
        ) from error
    return module


def train(
    script: ModuleType, config: DreamBoothConfig, class_images: Path, *, precompute_text: bool
) -> None:
    r"""Run the script to its end, with the settings of a run of ours.

    Args:
        script: from `load_script`.
        config: which model, pictures, prompts, steps, batch, rate; float32.
        class_images: folder with `config.num_class_images` pictures, where the prior is on.
        precompute_text: whether it encodes the prompts once instead of at every step.
    """
    settings = {
        "pretrained_model_name_or_path": _folder(config.model),
        "instance_data_dir": config.subject_images,
        "instance_prompt": config.instance_prompt,
        "output_dir": config.output,
        "resolution": config.resolution,
        "train_batch_size": config.batch_size,
        "max_train_steps": config.max_steps,
        "learning_rate": config.learning_rate,
        "adam_epsilon": config.adam_epsilon,
        "checkpointing_steps": config.max_steps + 1,
        "seed": config.seed,
        "mixed_precision": "no",
    }
    flags = ["--pre_compute_text_embeddings"] if precompute_text else []
    if config.with_prior:
        flags.append("--with_prior_preservation")
        settings |= {
            "class_data_dir": class_images,
            "class_prompt": config.class_prompt,
            "num_class_images": config.num_class_images,
            "prior_loss_weight": config.prior_loss_weight,
        }
    named = [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
    arguments = script.parse_args(named + flags)
    arguments.report_to = None  # no tensorboard
    script.main(arguments)


def losses(run: Callable[[], None], draws: Iterable[Tensor]) -> list[float]:
    """The loss of each step of a run of the script, whose random numbers are given."""
    found = []
    backward = Accelerator.backward

    def noted(accelerator: Accelerator, loss: Tensor, **options) -> None:
        found.append(loss.item())
        backward(accelerator, loss, **options)

    with patch.object(Accelerator, "backward", noted), GivenDraws(draws):
        run()
    return found


class GivenDraws(TorchFunctionMode):
    """What torch would draw as noise or timesteps comes from a list."""

    def __init__(self, draws: Iterable[Tensor]):
        super().__init__()
        self.draws = iter(draws)

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        if function in DRAWN:
            return next(self.draws)
        return function(*arguments, **(keywords or {}))


def our_draws(config: DreamBoothConfig, shape: tuple[int, ...], timesteps: int) -> Iterator[Tensor]:
    r"""What our trainer draws, in the order in which the script asks for it.

    The class latents of ours are the means of theirs: what they add to these is 0.

    Args:
        config: of the run.
        shape: (C, h, w) of the latents.
        timesteps: of the schedule, T.

    Yields:
        At each step: what the autoencoder's samples add to their means, the noise, the timesteps.
    """
    numbers = range(config.batch_size * (2 if config.with_prior else 1))
    for step in range(1, config.max_steps + 1):
        samples = []
        for number in numbers:
            generator = generator_for(config.seed, SAMPLE, step, number)
            t = torch.randint(timesteps, (), generator=generator)
            noise, added = (torch.randn(shape, generator=generator) for _ in range(2))
            samples.append((added * (number < config.batch_size), noise, t))
        yield from (torch.stack(parts) for parts in zip(*samples, strict=True))


def _folder(model: str) -> str:
    return str(Path(check_model(model)).resolve())
