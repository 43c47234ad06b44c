r"""The tuned pipeline folder: plain `DiffusionPipeline.from_pretrained` loads it and samples.

Each part is written in the precision of the original's file. A half that was read into float32
goes back to the same half, so what did not learn is bit for bit what it was. Adapters of LoRA are
merged into the weights beside them, and lie in a small file of their own too, which diffusers'
`load_lora_weights(FOLDER)` adds to the original model.
"""

import copy
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel

from tlab_diffusion.dreambooth.methods.lora import merged, save_adapters
from tlab_diffusion.dreambooth.methods.textual_inversion import written_out
from tlab_diffusion.files import apply_umask, durable_replace, sync
from tlab_diffusion.pipelines.loading import quiet
from tlab_diffusion.pipelines.part_config import load_in_float32

INDEX = "model_index.json"
DRAFT = "tuned.draft"
STORED = {"F16": torch.float16, "BF16": torch.bfloat16}


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
    other = type(pipeline)(
        **pipeline.components | parts,
        requires_safety_checker=pipeline.config.requires_safety_checker,
    )
    other.set_progress_bar_config(disable=True)
    return other


def export_pipeline(pipeline, folder: Path, dtypes: dict[str, torch.dtype]) -> None:
    r"""Write a pipeline into a folder, where other files may lie.

    It is written beside its place first. While its parts move in, the folder has no index, so
    that a folder that loads is always whole.

    Args:
        pipeline: in float32.
        folder: where to.
        dtypes: the precision of each part's file.
    """
    draft = folder / DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    learned = {n: part for n, part in pipeline.components.items() if isinstance(part, nn.Module)}
    parts = {
        name: _cast(written_out(merged(part)), dtypes.get(name, part.dtype))
        for name, part in learned.items()
    }
    with quiet():
        with_parts(pipeline, parts).save_pretrained(draft, safe_serialization=True)
    for name, part in parts.items():
        if part.dtype != torch.float32 and isinstance(part, PreTrainedModel):
            load_in_float32(draft / name)
    save_adapters(learned, draft)
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


def _move_in(draft: Path, folder: Path) -> None:
    apply_umask(draft)
    (folder / INDEX).unlink(missing_ok=True)
    sync(folder)  # the index is gone before the first part changes
    for part in draft.iterdir():
        if part.name != INDEX:
            durable_replace(part, folder / part.name)
    durable_replace(draft / INDEX, folder / INDEX)
    draft.rmdir()
