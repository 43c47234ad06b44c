"""From a model's name to a pipeline, or to one line that says why not."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines.sampler_settings import read_sampler_settings
from tlab_diffusion.training.hardware import best_device

PICTUREBOOK = Path(__file__).with_name("picturebook")
PARTS = ("vae", "text_encoder", "unet")
CONFIGS = {  # of parts whose settings are not in config.json
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
    "feature_extractor": "preprocessor_config.json",
}
OFFLINE = 'Without a network use the course\'s own model: "picturebook".'


def load(model: str | Path = "picturebook", device=None, dtype=None):
    r"""Load a Stable Diffusion pipeline.

    Args:
        model: "picturebook", a pipeline folder, or a hub id such as
            "stable-diffusion-v1-5/stable-diffusion-v1-5".
        device: where it runs; the best that is there when left out.
        dtype: torch's, of all weights; float32 when left out.

    Returns:
        A diffusers `StableDiffusionPipeline` without progress bar; its `sampler_settings` are what
        the folder records, or None.

    Raises:
        InputError: no pipeline there; a weight file that is missing, damaged or pickled; a hub id
            that cannot be had. What lies in a folder is checked before anything is loaded.
    """
    source = check_model(model)
    import torch

    with quiet():
        from diffusers import StableDiffusionPipeline
    if not Path(source).exists():
        source = _download(source)
    with quiet():
        try:
            # Pickled weights could run any code: safetensors or nothing.
            pipeline = StableDiffusionPipeline.from_pretrained(
                source, dtype=dtype or torch.float32, use_safetensors=True
            )
            # Weights that no file had are nowhere yet, and cannot move.
            pipeline = pipeline.to(device or best_device())
        except Exception as error:  # whatever damage makes the libraries stumble over
            raise _not_had(str(model), error) from error
    _check_words(pipeline.text_encoder, Path(source) / "text_encoder")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.sampler_settings = read_sampler_settings(Path(source))
    return pipeline


def check_model(model: str | Path) -> str:
    """Say where a model is loaded from, and refuse what cannot be one, reading headers only."""
    if str(model) == "picturebook":
        model = PICTUREBOOK
    folder = Path(model)
    if folder.exists():
        _check_folder(folder)
    elif not _is_hub_id(str(model)):
        raise InputError(
            "model",
            got=f"{model}, which is not there",
            expected='"picturebook", a pipeline folder or a hub id such as "owner/name"',
        )
    return str(model)


def local_folder(model: str | Path) -> Path | None:
    """A pipeline's folder on this machine, in the hub's cache maybe; None if there is none."""
    if str(model) == "picturebook":
        return PICTUREBOOK
    if Path(model).is_dir():
        return Path(model)
    if not _is_hub_id(str(model)):
        return None
    from huggingface_hub import try_to_load_from_cache

    try:
        index = try_to_load_from_cache(str(model), "model_index.json")
    except ValueError:  # no name that the hub could have
        return None
    return Path(index).parent if isinstance(index, str) else None


def _download(name: str) -> str:
    """Have a hub model lie in the cache, its class known before its weights come; its folder."""
    from diffusers import StableDiffusionPipeline

    try:
        kind = StableDiffusionPipeline.load_config(name).get("_class_name")
        if kind == "StableDiffusionPipeline":
            folder = StableDiffusionPipeline.download(name, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise _not_had(name, error) from error
    _check_kind(kind)
    _check_folder(Path(folder))
    return str(folder)


def _check_folder(folder: Path) -> None:
    parts = _settings(folder / "model_index.json")
    _check_kind(parts.get("_class_name"))
    listed = [name for name, kind in parts.items() if isinstance(kind, list) and any(kind)]
    for part in dict.fromkeys((*PARTS, "tokenizer", "scheduler", *listed)):
        if not (folder / part).is_dir():
            got = f"{folder}, which has no {part}"
            raise InputError("model", got=got, expected="a whole pipeline folder")
        _settings(folder / part / CONFIGS.get(part, "config.json"))
    _check_vocabulary(folder / "tokenizer")
    for part in (*PARTS, "safety_checker") if "safety_checker" in listed else PARTS:
        _check_weights(folder / part)


def _settings(file: Path) -> dict:
    """What a JSON file of a pipeline holds."""
    if not file.is_file():
        raise InputError(
            "model",
            got=f"{file.parent}, which has no {file.name}",
            expected="a pipeline folder, as save_pretrained writes it",
        )
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = None
    if not isinstance(settings, dict):
        got = f"{file}, which is damaged"
        raise InputError("model", got=got, expected="a JSON object", fix=_fix(file))
    return settings


def _check_vocabulary(tokenizer: Path) -> None:
    """The vocabulary is there: in one file, or in two as older models have it."""
    if (tokenizer / "tokenizer.json").is_file():
        _settings(tokenizer / "tokenizer.json")
    elif (tokenizer / "merges.txt").is_file() and (tokenizer / "vocab.json").is_file():
        _settings(tokenizer / "vocab.json")
    else:
        raise InputError(
            "model",
            got=f"no vocabulary in {tokenizer}",
            expected="tokenizer.json, or vocab.json and merges.txt",
            fix=_fix(tokenizer),
        )


def _check_kind(kind: object) -> None:
    if kind != "StableDiffusionPipeline":
        raise InputError("model", got=f"a {kind}", expected="a StableDiffusionPipeline")


def _check_weights(part: Path) -> None:
    """Every weight file can be opened, and is as long as its header says."""
    from safetensors import SafetensorError, safe_open

    files = sorted(part.glob("*.safetensors"))
    if not files:
        pickled = [*part.glob("*.bin"), *part.glob("*.ckpt"), *part.glob("*.pt")]
        got = f"only the pickle {pickled[0]}" if pickled else f"no weights in {part}"
        raise InputError("model", got=got, expected="a .safetensors file", fix=_fix(part))
    for file in files:
        try:
            with safe_open(file, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise InputError(
                "model",
                got=f"{file}, which is damaged ({error})",
                expected="a whole .safetensors file",
                fix=_fix(part),
            ) from error


def _check_words(text_encoder, part: Path) -> None:
    """Every weight came from a file: transformers fills up with random ones, and says nothing."""
    from safetensors import safe_open

    names = set()
    for file in part.glob("*.safetensors"):
        with safe_open(file, framework="np") as opened:
            names |= {name.removeprefix("text_model.") for name in opened.keys()}  # noqa: SIM118
    weights = (name.removeprefix("text_model.") for name, _ in text_encoder.named_parameters())
    missing = sorted(set(weights) - names)
    if missing:
        got = f"{part}, which lacks {missing[0]}"
        expected = "all weights of the text encoder"
        raise InputError("model", got=got, expected=expected, fix=_fix(part))


def _fix(part: Path) -> str:
    if PICTUREBOOK in part.parents:
        return "Install the package again."
    return "Save or download the model again, with safetensors."


def _is_hub_id(name: str) -> bool:
    owner, slash, repository = name.partition("/")
    return bool(owner and slash and repository) and "/" not in repository and name[0] not in "./~"


def _not_had(model: str, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(model).exists() or model == "picturebook":
        return InputError("model", got=f"{model} ({reason})", expected="a whole pipeline folder")
    return InputError(
        "model",
        got=f"{model}, which cannot be had from the hub ({reason})",
        expected="a model that is there, with safetensors weights",
        fix=OFFLINE,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep loading bars and notes on optional packages from the reader's screen."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in libraries]
    for log in libraries:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, level, bars in before:
            log.set_verbosity(level)
            if bars:
                log.enable_progress_bar()
