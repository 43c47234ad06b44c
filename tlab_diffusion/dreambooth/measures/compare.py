r"""Compare a fine-tuned model with its base: what `tlab evaluate` prints."""

from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from tlab_diffusion.dreambooth.checkpoint.run_record import RunRecord, is_run, read_run
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.families import family_of
from tlab_diffusion.dreambooth.measures.evaluator import Evaluator, evaluator_of
from tlab_diffusion.dreambooth.measures.selection import QUALITIES, Qualities, qualities
from tlab_diffusion.dreambooth.preflight.checks import Problems, Refused, audited
from tlab_diffusion.dreambooth.presets import DREAMBOOTH, native_resolution
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.encoders import Encoders
from tlab_diffusion.evaluation.measure import SampleCounts
from tlab_diffusion.evaluation.pictures import Sampler
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.files import cache_folder
from tlab_diffusion.pipelines import check_model, load
from tlab_diffusion.pipelines.loading import local_folder
from tlab_diffusion.pipelines.sampler_settings import (
    SamplerSettings,
    measuring_settings,
    read_sampler_settings,
)

GOOD = 0.8
PER_LEAK = 20  # pictures of the class in places, and of other classes
# What a low quality means, and what helps.
ADVICE = {
    "identity": "it does not always draw the subject: train longer, or at a higher learning rate",
    "prompt": "it does not always draw what was asked: train shorter",
    "prior": "the class has drifted towards the subject: more prior weight, or fewer steps",
}
NAME_IT = "Name the base with --base."


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a tuned model and of its base.

    Args:
        tuned, original: metrics of the tuned model and of its base.
        encoders: name of the encoders.
        base: the base, and how it was found if it was not given.
        sampler: the settings with which both models drew.
    """

    tuned: Metrics
    original: Metrics
    encoders: str
    base: str
    sampler: SamplerSettings

    @property
    def qualities(self) -> Qualities:
        """The qualities of the tuned model relative to its base."""
        return qualities(self.tuned, self.original)

    @property
    def verdict(self) -> str:
        """The qualities as text."""
        found = self.qualities
        weakest = min(QUALITIES, key=lambda name: getattr(found, name))
        if getattr(found, weakest) >= GOOD:
            said = "It knows the subject, follows prompts, and has kept the class."
        else:
            said = f"The weakest is {weakest}: {ADVICE[weakest]}."
        return f"Balance {found.score:.2f} of {found}. {said}"

    def as_dict(self) -> dict:
        """A dict for JSON."""
        return {
            "base": self.base,
            "encoders": self.encoders,
            "sampler": self.sampler.as_dict(),
            "tuned": self.tuned.as_dict(),
            "original": self.original.as_dict(),
            "qualities": self.qualities.by_name(),
            "balance": self.qualities.score,
            "verdict": self.verdict,
        }

    def __str__(self) -> str:
        tuned, original = (
            each.samples | each.class_samples for each in (self.tuned, self.original)
        )
        rows = [f"{'':20}{'tuned':24}original"]
        rows += [f"{name:20}{tuned[name]!s:24}{original.get(name, '-')!s}" for name in tuned]
        sampler = self.sampler
        return "\n".join(
            [
                self.tuned.table(),
                "",
                *rows,
                "",
                f"base: {self.base}",
                f"encoders: {self.encoders}",
                f"sampler: {sampler.solver}, {sampler.steps} steps, "
                f"guidance scale {sampler.guidance_scale:g}",
                self.verdict,
            ]
        )


def evaluate(
    model: str | Path,
    references: str | Path,
    identifier: str,
    class_noun: str,
    base: str | Path | None = None,
    *,
    num: int = 4,
    full: bool = False,
    seed: int = 0,
    encoders: Encoders | None = None,
    cache: Path | None = None,
    progress: bool = False,
) -> Evaluation:
    r"""Measure a tuned model and its base, from the same noise and with the same sampler settings.

    Bad input is refused before a model is loaded. The metrics of the base are stored for later
    calls. The sampler settings are those that the tuned folder records, or `measuring_settings`.

    Args:
        model: a tuned pipeline's folder.
        references: folder of the subject's pictures.
        identifier: the word that means it.
        class_noun: its class.
        base: the original model. When left out, the model that the folder's `run.json` names, or
            "picturebook" if there is no such file and the sizes of the pictures agree.
        num: samples of each prompt.
        full: ten prompts of each of the six uses, instead of ten in all.
        seed: of the noise.
        encoders: other encoders than those that suit the models' size.
        cache: folder of stored metrics; the user's cache folder when left out.
        progress: show a bar with rate and estimate for each model.

    Raises:
        Refused: an `InputError` with a line for everything that is wrong.
        InputError: the base that `run.json` names has other weights by now.
    """
    problems = Problems()
    problems.collect(check_model, model)
    named, record = base is not None, read_run(Path(model))
    if named:
        said = str(base)
        problems.collect(_check_base, base)
    else:
        base, said = problems.collect(_recorded_base, Path(model), record) or ("picturebook", "")
    if not problems.list:
        problems.collect(_check_sides, model, base)
    sized = not problems.list
    config = problems.collect(
        DreamBoothConfig,  # of a run that would have trained the model
        subject_images=references,
        identifier=identifier,
        class_noun=class_noun,
        output=model,
        model=base,
        method=record.settings.get("method", DREAMBOOTH) if record else DREAMBOOTH,
        seed=seed,
    )
    found = None if config is None else problems.collect(audited, config, problems, sized)
    counts = problems.collect(lambda: SampleCounts(per_prompt=num, per_leak=PER_LEAK))
    settings = problems.collect(read_sampler_settings, Path(model))
    if problems.list:
        raise Refused(problems.list)
    settings = settings or measuring_settings(native_resolution(str(base)))
    options = {"counts": counts, "every_use": full, "seed": seed, "settings": settings}
    evaluator = evaluator_of(config, found.pictures, encoders=encoders, **options)
    pipeline = load(base)
    weights = family_of(pipeline).fingerprint(pipeline)
    if not named and record is not None:
        _check_weights(base, weights, record)
    original = evaluator.measure_original(
        _sampler(pipeline, "original", evaluator, progress),
        weights,
        cache or cache_folder(),
        pipeline.device,
    )
    del pipeline
    tuned = evaluator.measure(_sampler(load(model), "tuned", evaluator, progress))
    return Evaluation(tuned, original, evaluator.encoders.name, said, settings)


def _recorded_base(model: Path, record: RunRecord | None) -> tuple[str, str]:
    """The base of a tuned folder, and a text that says how it was found."""
    if record is None:
        if is_run(model):
            got = f"{model / 'run.json'}, which is damaged"
            raise InputError("base", got=got, expected="what the run wrote", fix=NAME_IT)
        said = f"picturebook, because {model} has no run.json that names another model"
        return "picturebook", said
    base = record.settings.get("model")
    if base is None or local_folder(base) is None:
        raise InputError(
            "base",
            got=f"{base}, from {model / 'run.json'}, which is not on this machine",
            expected="the model that the run began with",
            fix=NAME_IT,
        )
    _check_base(base)
    return base, f"{base}, from run.json"


def _check_weights(base: str, weights: str, record: RunRecord) -> None:
    """Refuse a base that was changed or replaced since the run."""
    if record.fingerprint.weights not in (None, weights):
        raise InputError(
            "base",
            got=f"{base}, whose weights are not those that the run began with",
            expected="the model that the run began with",
            fix=NAME_IT,
        )


def _check_base(base: str | Path) -> None:
    try:
        check_model(base)
    except InputError as error:
        wrong = {"got": error.got, "expected": error.expected, "fix": error.fix}
        raise InputError("base", **wrong) from error


def _check_sides(model: str | Path, base: str | Path) -> None:
    sides = [native_resolution(str(each)) for each in (model, base)]
    if sides[0] == sides[1]:
        return
    for name, each in (("model", model), ("base", base)):
        if local_folder(each) is None:  # its side was guessed
            raise InputError(
                name,
                got=f"{each}, which is not here yet, so that its pictures' size is not known",
                expected="a model on this machine",
                fix=f"Fetch it first: tlab sample cat --num 1 --model {each}",
            )
    raise InputError(
        "base",
        got=f"{base}, which draws {sides[1]} pixels a side",
        expected=f"the original of {model}, which draws {sides[0]}",
        fix=NAME_IT,
    )


def _sampler(pipeline, name: str, evaluator: Evaluator, progress: bool) -> Sampler:
    """How a pipeline draws, with a bar that appears with the first pictures."""
    bars, total = [], evaluator.counts.total(len(evaluator.prompts))

    def move() -> None:
        if not bars:
            bars.append(tqdm(desc=name, unit="picture", total=total, disable=not progress))
        bars[0].update()
        if bars[0].n == total:
            bars[0].close()

    return evaluator.sampler(pipeline, after_each=move)
