r"""Checks before a run: pictures, prompts, model, folders, cost. All problems are reported at once.

Only headers, configs and the tokenizer are read; no weights.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tlab_diffusion.dreambooth.checkpoint import resume as checkpoint
from tlab_diffusion.dreambooth.checkpoint.run_record import Fingerprint, read_run
from tlab_diffusion.dreambooth.config import DreamBoothConfig, has_identifier
from tlab_diffusion.dreambooth.data.identifier import TokenReport, token_report
from tlab_diffusion.dreambooth.data.images import (
    EMPTY,
    MOST_ENLARGED,
    Audit,
    Finding,
    audit,
    names_of,
)
from tlab_diffusion.dreambooth.methods.textual_inversion import add_token, check_table
from tlab_diffusion.dreambooth.preflight.resources import Estimate, Work, estimate
from tlab_diffusion.dreambooth.presets import TEXTUAL_INVERSION, native_resolution
from tlab_diffusion.dreambooth.report.log import is_finished
from tlab_diffusion.dreambooth.training.optimizers import check_optimizer
from tlab_diffusion.errors import InputError
from tlab_diffusion.files import cache_folder, check_writable
from tlab_diffusion.pipelines import check_model, prompt_warnings
from tlab_diffusion.pipelines.loading import local_folder
from tlab_diffusion.training.hardware import run_device
from tlab_diffusion.training.precision import choose_precision

FEW_PICTURES = 3
CLIP_VOCABULARY = 49408  # tokens, where a text encoder names no other number


class Refused(InputError):
    """Several things are wrong at once: a line each."""

    def __init__(self, problems: Sequence[InputError]):
        self.problems = tuple(problems)
        ValueError.__init__(self, "\n".join(map(str, problems)))


@dataclass(frozen=True)
class Preflight:
    """What was found where nothing is wrong.

    Args:
        config: the run's settings, with as many accumulation steps as memory needs.
        pictures: (N, R, R, 3) uint8.
        findings: one for each file.
        tokens: of the identifier; None for a hub model that is not here yet.
        estimate: of what the run needs; None likewise, and where an earlier run is finished.
        notes: what is worth knowing.
        finished: whether an earlier run has left nothing to do.
    """

    config: DreamBoothConfig
    pictures: np.ndarray
    findings: tuple[Finding, ...]
    tokens: TokenReport | None
    estimate: Estimate | None
    notes: tuple[str, ...]
    finished: bool = False

    @property
    def names(self) -> list[str]:
        """The names of the pictures' files."""
        return names_of(self.findings)

    def __str__(self) -> str:
        found = (*self.findings, self.tokens, self.estimate, *self.notes)
        return "\n".join(str(each) for each in found if each is not None)


def preflight(
    config: DreamBoothConfig,
    *,
    resume: bool = False,
    evaluate_every: int | None = None,
    work: Work | None = None,
) -> Preflight:
    r"""Check all that a run needs, before a model is loaded or anything is written.

    Args:
        config: the settings.
        resume: whether to continue an earlier run in the output folder, if there is one.
        evaluate_every: see `run`.
        work: what is left to do, where that is not this one run.

    Raises:
        Refused: an `InputError` with a line for everything that is wrong.
    """
    problems = Problems()
    config = _with_earlier_parts(config, resume)
    source = problems.collect(check_model, config.model)
    found = problems.collect(audited, config, problems, source is not None)
    config = problems.collect(_with_captions, config, found) or config
    precision = problems.collect(choose_precision, config.precision, run_device())
    problems.collect(check_optimizer, config.optimizer, run_device())
    # Pictures of one pixel would look like another subject's.
    known = None if source is None else found
    problems.collect(_check_output, config, resume, known, precision)
    problems.collect(check_writable, cache_folder(), "cache")
    folder = None if source is None else _whole_folder(source)
    notes = _notes_on(found)
    tokens = needs = None
    tokenizer = None if folder is None else problems.collect(_tokenizer, folder)
    if tokenizer is not None:
        tokens = _token_report(tokenizer, config)
        problems.list += tokens.problems
        notes += prompt_warnings(tokenizer, config.class_prompt)
        notes += _resolution_notes(config)
    elif source is not None and folder is None:
        notes.append(f"{source} is not downloaded yet: its tokens and needs are not known")
    done = checkpoint.steps_done(config.output) if resume else 0
    finished = resume and is_finished(config, evaluate_every)
    if tokens is not None and precision is not None and not finished:
        work = work or Work.of_run(config, evaluate_every, done)
        facts = folder, precision, tokenizer.model_max_length, work
        needs = problems.collect(_estimate, config, *facts)
    if needs is not None:
        problems.list += needs.problems
        config = replace(config, gradient_accumulation_steps=needs.parts)
    if problems.list:
        raise Refused(problems.list)
    return Preflight(
        config, found.pictures, tuple(found.findings), tokens, needs, tuple(notes), finished
    )


class Problems:
    """Collects problems, so that all are reported together."""

    def __init__(self):
        self.list: list[InputError] = []

    def collect(self, function: Callable, *arguments, **options):
        """The function's result, or None where it refuses."""
        try:
            return function(*arguments, **options)
        except InputError as problem:
            self.list.append(problem)
            return None


def _with_earlier_parts(config: DreamBoothConfig, resume: bool) -> DreamBoothConfig:
    """With the accumulation steps of the earlier run, so that its sums are the same."""
    if not resume or config.gradient_accumulation_steps != 1:
        return config
    record = read_run(config.output)
    parts = record and record.settings.get("gradient_accumulation_steps")
    return replace(config, gradient_accumulation_steps=parts) if parts else config


def _with_captions(config: DreamBoothConfig, found: Audit | None) -> DreamBoothConfig:
    r"""The settings with the captions next to the pictures as their prompts.

    Raises:
        InputError: for the first caption without the identifier.
    """
    if found is None or not any(found.captions):
        return config
    for name, caption in zip(found.names, found.captions, strict=True):
        if caption and not has_identifier(caption, config.identifier):
            raise InputError(
                "caption",
                got=f"{caption!r} of {name}",
                expected=f"a caption with the identifier '{config.identifier}' in it",
                fix="Add the identifier, or remove the caption's file.",
            )
    prompts = tuple(caption or config.instance_prompt for caption in found.captions)
    return replace(config, picture_prompts=prompts)


def audited(config: DreamBoothConfig, problems: Problems, sized: bool) -> Audit:
    """The subject's pictures; those that are refused join the problems.

    Where the model is refused, their size is unknown (`sized`): of one pixel each,
    none is too small.
    """
    found = audit(config.subject_images, config.resolution if sized else 1)
    least = -(-config.resolution // MOST_ENLARGED)
    size = f" of {least} pixels or more on each side" if sized else ""
    for finding in found.refused:
        fix = "Mend it, or take it out of the folder."
        if finding.details == (EMPTY,):
            fix = "Put 3 to 5 pictures of the subject there."
        problem = InputError(
            "subject images",
            got=f"{finding.name}: {'; '.join(finding.details)}",
            expected=f"whole pictures{size}",
            fix=fix,
        )
        problems.list.append(problem)
    return found


def _check_output(
    config: DreamBoothConfig, resume: bool, found: Audit | None, precision: str | None
) -> None:
    """Refuse an output folder that the run would spoil, or could not write."""
    whole = found is not None and not found.refused
    inputs = Fingerprint.of(
        found.pictures if whole else None, precision, found.names if whole else None
    )
    checkpoint.check_output(config, inputs, resume=resume)
    check_writable(config.output, "output")


def _whole_folder(source: str) -> Path | None:
    """The pipeline's folder; None for a hub model of which something is still to be fetched."""
    folder = local_folder(source)
    return folder if folder and Problems().collect(check_model, folder) else None


def _tokenizer(folder: Path):
    from transformers import CLIPTokenizer

    with _whole_files(folder):
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        settings = json.loads((folder / "text_encoder/config.json").read_text(encoding="utf-8"))
    check_table(tokenizer, settings.get("vocab_size", CLIP_VOCABULARY))
    return tokenizer


def _estimate(config: DreamBoothConfig, folder: Path, *facts) -> Estimate:
    with _whole_files(folder):
        return estimate(config, folder, *facts)


@contextmanager
def _whole_files(folder: Path) -> Iterator[None]:
    """Report a JSON file of a model's folder that lacks a key as one `InputError`."""
    try:
        yield
    except (KeyError, TypeError) as error:
        raise InputError(
            "model",
            got=f"{folder}, whose files lack {error}",
            expected="a whole pipeline folder",
            fix="Download or save it again.",
        ) from error


def _token_report(tokenizer, config: DreamBoothConfig) -> TokenReport:
    own_row = config.method == TEXTUAL_INVERSION
    if own_row:
        add_token(tokenizer, config.identifier)
    prompts = config.instance_prompt, config.class_prompt
    return token_report(tokenizer, config.identifier, *prompts, own_row=own_row)


def _resolution_notes(config: DreamBoothConfig) -> list[str]:
    side = native_resolution(config.model)
    if side == config.resolution:
        return []
    return [
        f"it is trained at {config.resolution} pixels, and samples at {side}, the model's own size:"
        " subjects may be drawn too large or too small"
    ]


def _notes_on(found: Audit | None) -> list[str]:
    if found is None or not 0 < len(found.pictures) < FEW_PICTURES:
        return []
    count = f"{len(found.pictures)} picture" + "s" * (len(found.pictures) != 1)
    return [f"{count}: 3 to 5, in different poses and places, teach more"]
