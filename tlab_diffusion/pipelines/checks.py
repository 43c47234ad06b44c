"""What must be true of a pipeline folder, known from its JSON files and headers alone."""

import contextlib
import json
import re
from pathlib import Path

from tlab_diffusion.errors import InputError

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
WITH_WEIGHTS = PARTS[:3]
CONFIGS = {  # of parts whose settings are not in config.json
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
    "feature_extractor": "preprocessor_config.json",
}
FIX = "Save or download the model again, with safetensors."
WEIGHTS = re.compile(r"(?:diffusion_pytorch_)?model(?:\.([\w-]+))?\.safetensors")
SHARDS = re.compile(r"(?:diffusion_pytorch_)?model\.safetensors\.index(?:\.([\w-]+))?\.json")
PREDICTIONS = ("epsilon", "v_prediction", "sample")
# Settings of a U-Net that reads more than latents, a timestep and text, and what it reads.
MORE_INPUTS = {
    "class_embed_type": "class labels",
    "num_class_embeds": "class labels",
    "addition_embed_type": "further embeddings",
    "time_cond_proj_dim": "the guidance scale",
}


def check_folder(folder: Path) -> None:
    """Refuse a folder that is no whole Stable Diffusion pipeline, or one that cannot be driven.

    Raises:
        InputError: for the first thing that is wrong.
    """
    index = read_config(folder)
    check_class(index.get("_class_name"))
    listed = [name for name, kind in index.items() if isinstance(kind, list) and any(kind)]
    for part in dict.fromkeys((*PARTS, *listed)):
        if not (folder / part).is_dir():
            got = f"{folder}, which has no {part}"
            raise InputError("model", got=got, expected="a whole pipeline folder")
        read_config(folder, part)
    _check_vocabulary(folder / "tokenizer")
    variant(folder)
    for part in (*WITH_WEIGHTS, *({"safety_checker"} & set(listed))):
        for file in weight_files(folder / part):
            _check_whole(file)
    _check_fit(folder)
    new_scheduler(folder)


def check_class(name: object) -> None:
    """Refuse another class of pipeline."""
    if name != "StableDiffusionPipeline":
        raise InputError("model", got=f"a {name}", expected="a StableDiffusionPipeline")


def read_config(folder: Path, part: str | None = None) -> dict:
    """The settings of a part, or the index of the whole pipeline."""
    if part is None:
        return _read_json(folder / "model_index.json")
    return _read_json(folder / part / CONFIGS.get(part, "config.json"))


def weight_files(part: Path) -> list[Path]:
    """The safetensors files from which a part is loaded: one, or its shards."""
    return _stored(part)[1]


def variant(folder: Path) -> str | None:
    """What diffusers calls the variant, such as "fp16"; None where plain files are there."""
    names = {_stored(folder / part)[0] for part in WITH_WEIGHTS} - {""}
    if len(names) > 1:
        got = f"{folder}, whose parts are the variants {', '.join(sorted(names))}"
        raise InputError("model", got=got, expected="one variant", fix=FIX)
    return next(iter(names), None)


def _stored(part: Path) -> tuple[str, list[Path]]:
    """Variant ("" is none) and files of a part: the plain ones, else fp16, else another variant."""
    found = []
    for path in part.iterdir():
        if match := WEIGHTS.fullmatch(path.name):
            found.append((match[1] or "", [path]))
        elif match := SHARDS.fullmatch(path.name):
            names = _read_json(path).get("weight_map", {}).values()
            found.append((match[1] or "", [part / name for name in sorted(set(names))]))
    if not found:
        pickled = [path for path in part.iterdir() if path.suffix in (".bin", ".ckpt", ".pt")]
        got = f"only the pickle {min(pickled)}" if pickled else f"no weights in {part}"
        raise InputError("model", got=got, expected="a .safetensors file", fix=FIX)
    return min(found, key=lambda each: (each[0] != "", each[0] != "fp16", each[0], len(each[1])))


def _check_whole(file: Path) -> None:
    """A weight file is there, can be opened, and is as long as its header says."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        got = f"{file.parent}, which lacks the shard {file.name}"
        raise InputError("model", got=got, expected="all shards that its index lists", fix=FIX)
    try:
        with safe_open(file, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        got = f"{file}, which is damaged ({error})"
        raise InputError("model", got=got, expected="a whole .safetensors file", fix=FIX) from error


def _check_fit(folder: Path) -> None:
    """The U-Net reads the VAE's latents, the text encoder's embeddings, and nothing else."""
    unet, vae, text = (read_config(folder, part) for part in WITH_WEIGHTS)
    channels = vae.get("latent_channels", 4)
    for name in ("in_channels", "out_channels"):
        if unet.get(name, 4) != channels:
            raise InputError(
                "model",
                got=f"{folder}, whose U-Net has {unet.get(name, 4)} {name}",
                expected=f"{channels}, the channels of its VAE's latents",
                fix="Models for inpainting, editing or upscaling take other inputs.",
            )
    for name, what in MORE_INPUTS.items():
        if unet.get(name) is not None:
            raise InputError(
                "model",
                got=f"{folder}, whose U-Net also reads {what} ({name} = {unet[name]!r})",
                expected="one that reads latents, a timestep and text",
            )
    width = unet.get("encoder_hid_dim") or unet.get("cross_attention_dim", 1280)
    widths = set(width) if isinstance(width, list) else {width}
    if "hidden_size" in text and widths != {text["hidden_size"]}:
        raise InputError(
            "model",
            got=f"{folder}, whose U-Net reads embeddings of width {width}",
            expected=f"{text['hidden_size']}, the width of its text encoder",
        )
    side = unet.get("sample_size")
    if not isinstance(side, int) or side < 1:
        got = f"{folder}, whose U-Net has the sample_size {side}"
        raise InputError("model", got=got, expected="the side of square latents")
    if vae.get("shift_factor"):
        got = f"{folder}, whose VAE shifts its latents by {vae['shift_factor']}"
        raise InputError("model", got=got, expected="latents that are only scaled")


def new_scheduler(folder: Path):
    r"""A pipeline folder's scheduler.

    It is a `DDIMScheduler` with the same noise schedule where the folder's own class needs a
    library that is not installed: our samplers read nothing else.

    Raises:
        InputError: a schedule that our samplers do not know, or one that does not fit what the
            model predicts.
    """
    config = read_config(folder, "scheduler")
    named = read_config(folder)["scheduler"]  # the class that is loaded
    for name in dict.fromkeys((config.get("_class_name"), *(named or [])[1:])):
        scheduler = _scheduler(str(name), config)
        if not hasattr(scheduler, "alphas_cumprod") or scheduler.config.get("use_flow_sigmas"):
            raise InputError(
                "model",
                got=f"{folder}, whose scheduler is {name}",
                expected="one with a noise schedule alphas_cumprod, such as DDIMScheduler",
                fix="Models of flow matching or EDM have another schedule.",
            )
    prediction = scheduler.config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        got = f"{folder}, whose scheduler has the prediction_type {prediction!r}"
        raise InputError("model", got=got, expected=f"one of {', '.join(PREDICTIONS)}")
    zero = scheduler.config.get("rescale_betas_zero_snr") or scheduler.alphas_cumprod[-1] == 0
    if prediction == "epsilon" and zero:
        raise InputError(
            "model",
            got=f"{folder}, which predicts epsilon with a schedule of zero terminal SNR",
            expected="v_prediction or sample there",
            fix="At the last timestep the input is noise alone, and epsilon does not determine x0.",
        )
    return scheduler


def _scheduler(name: str, config: dict):
    """A scheduler of a class of diffusers; None if there is none, or it refuses the settings."""
    import diffusers

    from tlab_diffusion.pipelines.loading import quiet

    with quiet(), contextlib.suppress(Exception):
        try:
            return getattr(diffusers, name).from_config(config)
        except ImportError:
            return diffusers.DDIMScheduler.from_config(
                config | {"steps_offset": 1, "clip_sample": False}
            )


def _check_vocabulary(tokenizer: Path) -> None:
    """The vocabulary is there: in one file, or in two as older models have it."""
    if (tokenizer / "tokenizer.json").is_file():
        _read_json(tokenizer / "tokenizer.json")
    elif (tokenizer / "merges.txt").is_file() and (tokenizer / "vocab.json").is_file():
        _read_json(tokenizer / "vocab.json")
    else:
        expected = "tokenizer.json, or vocab.json and merges.txt"
        raise InputError("model", got=f"no vocabulary in {tokenizer}", expected=expected, fix=FIX)


def _read_json(file: Path) -> dict:
    if not file.is_file():
        got = f"{file.parent}, which has no {file.name}"
        expected = "a pipeline folder, as save_pretrained writes it"
        raise InputError("model", got=got, expected=expected)
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = None
    if not isinstance(settings, dict):
        got = f"{file}, which is damaged"
        raise InputError("model", got=got, expected="a JSON object", fix=FIX)
    return settings
