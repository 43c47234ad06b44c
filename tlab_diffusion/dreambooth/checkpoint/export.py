r"""The fine-tuned pipeline's folder, which plain `DiffusionPipeline.from_pretrained` loads.

Each part is written in the precision of the original's file, so weights that were not trained are
bit for bit what they were. LoRA adapters are merged into the weights; they are also in a small file
of their own, which diffusers' `load_lora_weights(FOLDER)` adds to the original model. So is the
embedding of Textual Inversion, for `load_textual_inversion(FOLDER)`.
"""

import copy
import json
import shutil
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel

from tlab_diffusion.dreambooth.families import family_of
from tlab_diffusion.dreambooth.methods import lora, textual_inversion
from tlab_diffusion.files import apply_umask, durable_replace, sync
from tlab_diffusion.pipelines.loading import quiet
from tlab_diffusion.pipelines.part_config import load_in_float32

INDEX = "model_index.json"
DRAFT = "tuned.draft"
STORED = {"F16": torch.float16, "BF16": torch.bfloat16}
TOKENIZER = "tokenizer"
ADDED_TOKENS = "added_tokens.json"
WEIGHTS = {".safetensors", ".bin", ".ckpt", ".pt", ".msgpack", ".h5", ".onnx"}
VERSIONS = "requirements.txt"
# The oldest versions that were tried, whose vocabulary is also in vocab.json and merges.txt.
READERS = {"diffusers": "0.35", "transformers": "4.57"}


def stored_dtypes(folder: Path) -> dict[str, torch.dtype]:
    """The precision of each part's weights in a pipeline folder, read from the files' headers."""
    dtypes = {}
    for part in folder.iterdir():
        # A variant has one more suffix: the plain name is what was loaded.
        files = sorted(part.glob("*.safetensors"), key=lambda file: len(file.suffixes))
        if files:
            with safe_open(files[0], framework="pt") as file:
                first = file.get_slice(next(iter(file.keys())))
                dtypes[part.name] = STORED.get(first.get_dtype(), torch.float32)
    return dtypes


def with_parts(pipeline, parts: dict[str, nn.Module]):
    """The same pipeline with other parts; the original keeps its own."""
    other = copy.copy(pipeline)
    other.register_modules(**parts)
    return other


def export_pipeline(pipeline, folder: Path, dtypes: dict[str, torch.dtype]) -> None:
    r"""Write a pipeline into a folder, which may hold other files.

    It is written to a draft first. While its parts are moved, the folder has no index, so a folder
    that loads is always complete. Other files of the original's parts are copied.

    Args:
        pipeline: in float32, loaded from a folder.
        folder: where to.
        dtypes: the precision of each part's file.
    """
    draft = folder / DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    networks = {n: part for n, part in pipeline.components.items() if isinstance(part, nn.Module)}
    parts = {
        name: _cast(textual_inversion.merged(lora.merged(part)), dtypes.get(name, part.dtype))
        for name, part in networks.items()
    }
    with quiet():
        with_parts(pipeline, parts).save_pretrained(draft, safe_serialization=True)
    for name, part in parts.items():
        if part.dtype != torch.float32 and isinstance(part, PreTrainedModel):
            load_in_float32(draft / name)
    family_of(pipeline).rename_saved_weights(draft)
    if pipeline.name_or_path and Path(pipeline.name_or_path).is_dir():
        _copy_other_files(Path(pipeline.name_or_path), draft, pipeline.tokenizer)
    _write_versions(draft)
    if adapters := lora.adapter_weights(networks):
        family_of(pipeline).save_lora(adapters, draft)
    for part in networks.values():
        textual_inversion.save_embeds(part, draft)
    _move_in(draft, folder)


def copy_pipeline(source: Path, folder: Path) -> None:
    """Replace the pipeline in `folder` by that of `source`, as safely as `export_pipeline`."""
    draft = folder / DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(source, draft)
    _move_in(draft, folder)


def _cast(part: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The part itself, or a copy in another precision."""
    if part.dtype == dtype:
        return part
    # Converted before they are copied: a whole copy is 3 GiB of a model of Stable Diffusion's size.
    weights = {id(weight): nn.Parameter(weight.detach().to(dtype)) for weight in part.parameters()}
    # torch's own conversion: diffusers' warns of parts that need float32, of which there are none.
    return nn.Module.to(copy.deepcopy(part, weights), dtype)


def _copy_other_files(original: Path, draft: Path, tokenizer) -> None:
    """Copy what the original's parts hold besides weights, and its licence."""
    before = type(tokenizer).from_pretrained(original / TOKENIZER).get_vocab()
    unchanged = before == tokenizer.get_vocab()
    for part in [each for each in draft.iterdir() if (original / each.name).is_dir()]:
        # An unchanged tokenizer keeps the form that the original's readers know.
        replace = part.name == TOKENIZER and unchanged
        for file in (original / part.name).rglob("*"):
            copied = part / file.relative_to(original / part.name)
            if file.is_file() and not _is_weights(file) and (replace or not copied.exists()):
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copied)
    if not unchanged:  # for older tokenizers, which read vocab.json
        added = {t.content: n for n, t in tokenizer.added_tokens_decoder.items() if not t.special}
        (draft / TOKENIZER / ADDED_TOKENS).write_text(json.dumps(added), encoding="utf-8")
    for file in (*original.glob("LICENSE*"), *original.glob("NOTICE*")):
        shutil.copyfile(file, draft / file.name)


def _is_weights(file: Path) -> bool:
    return bool(WEIGHTS.intersection(file.suffixes)) or file.name.endswith(".index.json")


def _write_versions(draft: Path) -> None:
    """Note the oldest libraries known to read the folder, in the form that pip reads."""
    old = (draft / TOKENIZER / "vocab.json").is_file()
    lines = [f"{name}>={READERS[name] if old else version(name)}\n" for name in READERS]
    (draft / VERSIONS).write_text("".join(lines), encoding="utf-8")


def _move_in(draft: Path, folder: Path) -> None:
    apply_umask(draft)
    (folder / INDEX).unlink(missing_ok=True)
    sync(folder)  # the index is gone before the first part changes
    for part in draft.iterdir():
        if part.name != INDEX:
            durable_replace(part, folder / part.name)
    durable_replace(draft / INDEX, folder / INDEX)
    draft.rmdir()
