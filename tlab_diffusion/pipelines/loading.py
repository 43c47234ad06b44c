"""Load a pipeline by name, or raise one `InputError`."""

import difflib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines import checks
from tlab_diffusion.pipelines.sampler_settings import read_sampler_settings
from tlab_diffusion.training.hardware import best_device

PICTUREBOOK = Path(__file__).with_name("picturebook")
EXPECTED = '"picturebook", a pipeline folder, a .safetensors file or a hub id such as "owner/name"'
OFFLINE = 'Without a network use the course\'s own model: "picturebook".'
FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


def load(model: str | Path = "picturebook", device=None, dtype=None):
    r"""Load a Stable Diffusion pipeline.

    Args:
        model: "picturebook", a pipeline folder, one .safetensors file of Stable Diffusion 1.x, or
            a hub id such as "stable-diffusion-v1-5/stable-diffusion-v1-5".
        device: where it runs; the best that is there when left out.
        dtype: torch's, of all weights; float32 when left out.

    Returns:
        A diffusers `StableDiffusionPipeline` without progress bar; its `sampler_settings` are what
        the folder records, or None.

    Raises:
        InputError: no pipeline there; a weight file that is missing, damaged or pickled; parts that
            do not fit; a hub id that cannot be loaded. All that a folder's JSON files and headers
            tell is checked before anything is loaded.
    """
    source = check_model(model)
    import torch

    with quiet():
        from diffusers import StableDiffusionPipeline

        folder = local_folder(source) if Path(source).exists() else _download(source)
        scheduler = checks.new_scheduler(folder)
        own = type(scheduler).__name__ in checks.read_config(folder)["scheduler"]
        try:
            # Pickled weights could run any code: safetensors or nothing.
            pipeline = StableDiffusionPipeline.from_pretrained(
                folder,
                dtype=dtype or torch.float32,
                use_safetensors=True,
                variant=checks.variant(folder),
                **({} if own else {"scheduler": None}),
            )
            if not own:  # its class needs a library that is not installed
                pipeline.register_modules(scheduler=scheduler)
            # Weights that no file had are on the meta device, and cannot move.
            pipeline = pipeline.to(device or best_device())
        except Exception as error:  # damaged files make the libraries raise many kinds of errors
            got = f"{model} ({_reason(error)})"
            raise InputError("model", got=got, expected="a whole pipeline folder") from error
    _check_text_encoder(pipeline.text_encoder, folder / "text_encoder")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.sampler_settings = read_sampler_settings(folder)
    return pipeline


def check_model(model: str | Path) -> str:
    """Say where a model is loaded from, and refuse what cannot be one, reading headers only.

    Raises:
        InputError: as `load`, before anything is loaded. A single file is converted to a folder in
            the user's cache, once.
    """
    if str(model) == "picturebook":
        model = PICTUREBOOK
    path = Path(model)
    if path.is_file():
        from tlab_diffusion.pipelines.single_file import unpacked

        with quiet():
            unpacked(path)
    elif path.exists():
        checks.check_folder(path)
    elif local_folder(model) is None:
        _check_name(str(model))
    return str(model)


def local_folder(model: str | Path) -> Path | None:
    """A pipeline's folder on this machine, possibly in a cache; None if there is none."""
    if str(model) == "picturebook":
        return PICTUREBOOK
    if Path(model).is_dir():
        return Path(model)
    if Path(model).is_file():
        from tlab_diffusion.pipelines.single_file import unpacked

        try:
            return unpacked(Path(model))
        except InputError:  # which `check_model` raises
            return None
    if not _is_hub_id(str(model)):
        return None
    from huggingface_hub import try_to_load_from_cache

    try:
        index = try_to_load_from_cache(str(model), "model_index.json")
    except ValueError:  # no name that the hub could have
        return None
    return Path(index).parent if isinstance(index, str) else None


def _check_name(name: str) -> None:
    """Refuse a name that is neither here nor on the hub; a typo in a path never asks the hub."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    path = Path(name)
    parent = next(each for each in path.parents if each.exists())
    if parent == Path() and _is_hub_id(name):
        if HF_HUB_OFFLINE:
            raise _not_on_hub(name, "HF_HUB_OFFLINE is set")
        return
    got, choices = f"{name}, which is not there", ["picturebook"]
    if parent.is_dir():
        beside = [str(each) for each in parent.iterdir() if each.is_dir() or each.suffix in FILES]
        choices += beside
        if parent.name:  # neither the current folder nor the root
            missing = path.relative_to(parent).parts[0]
            got = f"{name}, but {parent}/ is a folder here and has no {missing}"
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.75)
    fix = f"Did you mean {close[0]}?" if close else ""
    raise InputError("model", got=got, expected=EXPECTED, fix=fix)


def _is_hub_id(name: str) -> bool:
    owner, slash, repository = name.partition("/")
    plain = "/" not in repository and name[0] not in "./~"
    return bool(owner and slash and repository) and plain and Path(name).suffix not in FILES


def _download(name: str) -> Path:
    """Fetch a hub model into the cache, after its class is checked; its folder."""
    from diffusers import StableDiffusionPipeline

    try:
        kind = StableDiffusionPipeline.load_config(name).get("_class_name")
        if kind == "StableDiffusionPipeline":
            folder = Path(StableDiffusionPipeline.download(name, use_safetensors=True))
    except (OSError, ValueError) as error:
        raise _not_on_hub(name, _reason(error)) from error
    checks.check_class(kind)
    checks.check_folder(folder)
    return folder


def _not_on_hub(name: str, reason: str) -> InputError:
    return InputError(
        "model",
        got=f"{name}, which cannot be loaded from the hub ({reason})",
        expected="a model on the hub or in the cache, with safetensors weights",
        fix=OFFLINE,
    )


def _check_text_encoder(text_encoder, part: Path) -> None:
    """Every weight came from a file: transformers fills missing ones with random numbers."""
    from safetensors import safe_open

    names = set()
    for file in checks.weight_files(part):
        with safe_open(file, framework="np") as opened:
            names |= {name.removeprefix("text_model.") for name in opened.keys()}  # noqa: SIM118
    weights = (name.removeprefix("text_model.") for name, _ in text_encoder.named_parameters())
    missing = sorted(set(weights) - names)
    if missing:
        got = f"{part}, which lacks {missing[0]}"
        expected = "all weights of the text encoder"
        raise InputError("model", got=got, expected=expected, fix=checks.FIX)


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence loading bars, notes on optional packages, and warnings of deprecated settings."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in libraries]
    for log in libraries:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # diffusers prints the whole config of a scheduler with other settings than today's.
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for log, level, bars in before:
            log.set_verbosity(level)
            if bars:
                log.enable_progress_bar()
