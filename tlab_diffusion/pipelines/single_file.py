r"""A pipeline in one safetensors file, with the tensor names of the original Stable Diffusion 1.x.

Most programs for Stable Diffusion read such files. The weights alone do not give the configs and
the tokenizer. A file that is written here has these in its metadata, so that it loads without a
network; other programs ignore them. For a file from elsewhere they come from the hub or its cache.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from safetensors import SafetensorError, safe_open
from torch import Tensor

from tlab_diffusion.errors import InputError
from tlab_diffusion.files import (
    as_input_error,
    atomic_write,
    cache_folder,
    durable_replace,
    file_lock,
)
from tlab_diffusion.pipelines.checks import PARTS, check_folder, read_config, weight_files
from tlab_diffusion.pipelines.sampler_settings import (
    SETTINGS_FILE,
    read_sampler_settings,
    write_sampler_settings,
)

METADATA = "pipeline_files"  # JSON of {path in the folder: text of the file}
CONFIGS = "stable-diffusion-v1-5/stable-diffusion-v1-5"  # for files without the metadata
UNET, VAE = "model.diffusion_model.", "first_stage_model."
TEXT_ENCODER = "cond_stage_model.transformer.text_model."
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def check_single_file(file: Path) -> None:
    """Refuse a file that is no safetensors file of Stable Diffusion 1.x, reading its header only.

    Raises:
        InputError: a pickle, a damaged file, or the weights of something else.
    """
    if file.suffix.lower() != ".safetensors":
        raise InputError(
            "model",
            got=f"the file {file}",
            expected="a pipeline folder or one .safetensors file",
            fix="Pickles (.ckpt, .pt, .bin) can run any code when they are opened: convert the "
            "file to safetensors where you trust it.",
        )
    try:
        with safe_open(file, framework="np") as opened:
            names, width = set(opened.keys()), None
            if UNET + "input_blocks.0.0.weight" in names:
                width = opened.get_slice(UNET + "input_blocks.0.0.weight").get_shape()[1]
    except (SafetensorError, OSError) as error:
        got, expected = f"{file}, which is damaged ({error})", "a whole .safetensors file"
        raise InputError("model", got=got, expected=expected, fix="Copy it again.") from error
    for what, prefix in (("U-Net", UNET), ("VAE", VAE), ("text encoder", TEXT_ENCODER)):
        if not any(name.startswith(prefix) for name in names):
            raise InputError(
                "model",
                got=f"{file}, which has no {what} of Stable Diffusion 1.x",
                expected=f"a whole model, with tensors named {prefix}...",
            )
    if width != 4 and METADATA not in _metadata(file):
        got = f"{file}, whose U-Net takes {width} channels"
        raise InputError("model", got=got, expected="4, as a text-to-image model has")


def unpacked(file: Path) -> Path:
    r"""The pipeline folder of a single file: converted once, then kept in the user's cache.

    Raises:
        InputError: if the file is refused, see `check_single_file`; if its configs cannot be
            loaded; or if the folder cannot be written.
    """
    check_single_file(file)
    stat = file.stat()
    key = hashlib.sha256(f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()
    folder = cache_folder() / "single-files" / key[:24]
    with file_lock(folder):
        if not folder.is_dir():
            with as_input_error(folder.parent, "cache"):
                _convert(file, folder)
    return folder


def _convert(file: Path, folder: Path) -> None:
    from diffusers import StableDiffusionPipeline

    draft = folder.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    options = {"safety_checker": None, "feature_extractor": None}
    with _configs(file) as configs:
        if configs is None:
            options["config"] = CONFIGS  # in the hub's cache, or fetched
        else:
            options |= {"config": str(configs), "local_files_only": True}
        try:
            pipeline = StableDiffusionPipeline.from_single_file(str(file), **options)
        except Exception as error:  # damaged files make the libraries raise many kinds of errors
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                "model",
                got=f"{file} ({reason})",
                expected="a Stable Diffusion 1.x file",
                fix=f"A file from elsewhere needs the configs of {CONFIGS} once, from the hub.",
            ) from error
        pipeline.save_pretrained(draft, safe_serialization=True)
        if configs is not None and (settings := read_sampler_settings(configs)):
            write_sampler_settings(draft, settings)
    durable_replace(draft, folder)


@contextmanager
def _configs(file: Path) -> Iterator[Path | None]:
    """The configs and the tokenizer in a file's metadata, as a folder; None where it has none."""
    files = _metadata(file).get(METADATA)
    if files is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, text in json.loads(files).items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or path.suffix not in (".json", ".txt"):
                got = f"{file}, whose metadata name the file {name!r}"
                raise InputError("model", got=got, expected="configs and a tokenizer")
            (Path(folder) / path).parent.mkdir(exist_ok=True)
            (Path(folder) / path).write_text(text, encoding="utf-8")
        yield Path(folder)


def export_single_file(folder: Path, file: Path) -> None:
    r"""Write a pipeline folder as one file, every tensor in the precision of its file.

    Args:
        folder: of a Stable Diffusion 1.x pipeline. A safety checker is left out.
        file: where to; a name that ends in .safetensors.

    Raises:
        InputError: no such folder, another name, or a file that cannot be written.
    """
    from safetensors.torch import load_file, save_file

    if file.suffix != ".safetensors":
        raise InputError("file", got=str(file), expected="a name that ends in .safetensors")
    check_folder(folder)
    unet, vae, text_encoder = (
        {name: t for each in weight_files(folder / part) for name, t in load_file(each).items()}
        for part in ("unet", "vae", "text_encoder")
    )
    weights = original_unet(unet, read_config(folder, "unet").get("layers_per_block", 2))
    weights |= original_vae(vae)
    weights |= {TEXT_ENCODER + n.removeprefix("text_model."): t for n, t in text_encoder.items()}
    left_out = {name: [None, None] for name in ("safety_checker", "feature_extractor")}
    files = {"model_index.json": json.dumps(read_config(folder) | left_out)}
    settings = [folder / SETTINGS_FILE] if (folder / SETTINGS_FILE).is_file() else []
    parts = [folder / part for part in PARTS]
    for each in [*settings, *(path for part in parts for path in sorted(part.iterdir()))]:
        if each.suffix in (".json", ".txt") and ".index." not in each.name:
            files[each.relative_to(folder).as_posix()] = each.read_text(encoding="utf-8")
    with as_input_error(file.parent, "file"), atomic_write(file) as draft:
        save_file(weights, draft, metadata={"format": "pt", METADATA: json.dumps(files)})


def original_unet(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """The weights of a diffusers U-Net under their original names.

    Args:
        weights: {name in diffusers: tensor}.
        layers: ResNets of a down block; an up block has one more.
    """

    def renamed(name: str) -> str:
        found = re.fullmatch(r"(down|up|mid)_blocks?\.(?:(\d+)\.)?(\w+)\.(\d+)\.(.+)", name)
        if not found:
            return _replaced(name, UNET_ENDS)
        way, kind, inner = found[1], found[3], found[5]
        block, number = int(found[2] or 0), int(found[4])
        if kind == "resnets":
            inner = _replaced(inner, RESNET)
        if way == "mid":
            return f"middle_block.{2 * number + (kind == 'attentions')}.{inner}"
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * (layers + 1)}.0.{inner.replace('conv', 'op')}"
        if kind == "upsamplers":
            attends = any(each.startswith(f"up_blocks.{block}.attentions.") for each in weights)
            return f"output_blocks.{block * (layers + 1) + layers}.{1 + attends}.{inner}"
        place = block * (layers + 1) + number + (way == "down")
        side = "input" if way == "down" else "output"
        return f"{side}_blocks.{place}.{int(kind == 'attentions')}.{inner}"

    return {UNET + renamed(name): tensor for name, tensor in weights.items()}


def original_vae(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a diffusers `AutoencoderKL` under their original names.

    The linear layers of its attention are 1 x 1 convolutions there.
    """
    blocks = {int(n.split(".")[2]) for n in weights if n.startswith("decoder.up_blocks.")}
    renamed = {}
    for name, tensor in weights.items():
        new = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        new = re.sub(r"mid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}", new)
        new = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", new)
        new = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", new)
        new = re.sub(
            r"up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)",
            lambda m: (
                f"up.{len(blocks) - 1 - int(m[1])}."
                + (f"block.{m[3]}" if m[2] == "resnets" else "upsample")
            ),
            new,
        )
        if "mid_block.attentions.0." in new:
            start, inner = new.split("mid_block.attentions.0.")
            new = f"{start}mid.attn_1.{_replaced(inner, VAE_ATTENTION)}"
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        renamed[VAE + new] = tensor
    return renamed


def _replaced(name: str, names: dict[str, str]) -> str:
    """The name with its beginning replaced, where the table has it."""
    for before, after in names.items():
        if name.startswith(before + "."):
            return after + name.removeprefix(before)
    return name


def _metadata(file: Path) -> dict[str, str]:
    with safe_open(file, framework="np") as opened:
        return opened.metadata() or {}
