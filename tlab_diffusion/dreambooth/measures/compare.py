r"""A tuned model on the scales, beside the original one: what `tlab evaluate` says."""

from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from tlab_diffusion.dreambooth.cache import latents
from tlab_diffusion.dreambooth.checkpoint.run_record import read_run
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.measures.evaluator import Evaluator
from tlab_diffusion.dreambooth.measures.sampling import fast_sampler
from tlab_diffusion.dreambooth.measures.selection import QUALITIES, Point, Qualities, trade_off
from tlab_diffusion.dreambooth.preflight.checks import Problems, Refused, audited
from tlab_diffusion.dreambooth.presets import DREAMBOOTH, native_resolution
from tlab_diffusion.dreambooth.run import evaluator_of
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.encoders import Encoders
from tlab_diffusion.evaluation.measure import SampleCounts
from tlab_diffusion.evaluation.quality import Sample
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.files import cache_folder
from tlab_diffusion.pipelines import check_model, load
from tlab_diffusion.pipelines.loading import local_folder

GOOD = 0.8
# What a low quality means, and what helps.
ADVICE = {
    "identity": "it does not always draw the subject: train longer, or at a higher learning rate",
    "prompt": "it does not always draw what was asked: train shorter",
    "prior": "the class has drifted towards the subject: more prior weight, or fewer steps",
}


@dataclass(frozen=True)
class Evaluation:
    """The measures of a tuned model and of the original one, by the same encoders."""

    tuned: Metrics
    original: Metrics
    encoders: str

    @property
    def qualities(self) -> Qualities:
        """The tuned model's place on the trade-off curve."""
        return trade_off([Point(0, self.original), Point(1, self.tuned)]).curve[1]

    @property
    def verdict(self) -> str:
        """The trade-off in words."""
        qualities = self.qualities
        weakest = min(QUALITIES, key=lambda name: getattr(qualities, name))
        if getattr(qualities, weakest) >= GOOD:
            said = "It knows the subject, obeys prompts, and has kept the class."
        else:
            said = f"The weakest is {weakest}: {ADVICE[weakest]}."
        return f"Balance {qualities.score:.2f} of {qualities}. {said}"

    def as_dict(self) -> dict:
        """Ready for JSON."""
        return {
            "encoders": self.encoders,
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
        return "\n".join(
            [self.tuned.table(), "", *rows, "", f"encoders: {self.encoders}", self.verdict]
        )


def evaluate(
    model: str | Path,
    references: str | Path,
    identifier: str,
    class_noun: str,
    base: str | Path = "picturebook",
    *,
    num: int = 4,
    full: bool = False,
    seed: int = 0,
    encoders: Encoders | None = None,
    cache: Path | None = None,
    progress: bool = False,
) -> Evaluation:
    r"""Measure a tuned model and the original one, from the same noise.

    Bad input is refused before a model is loaded. What was measured on the original is kept.

    Args:
        model: a tuned pipeline's folder.
        references: folder of the subject's pictures.
        identifier: the word that means it.
        class_noun: what it is.
        base: the original model.
        num: pictures of each prompt.
        full: ask ten prompts of each of the six uses, instead of ten in all.
        seed: of the noise.
        encoders: other encoders than those that suit the models' size.
        cache: folder of what is kept; the user's cache folder when left out.
        progress: show a bar with rate and estimate for each model.

    Raises:
        Refused: an `InputError` with a line for everything that is wrong.
    """
    problems = Problems()
    problems.collect(check_model, model)
    problems.collect(_check_base, base)
    if not problems.list:
        problems.collect(_check_sides, model, base)
    sized = not problems.list
    config = problems.collect(_config, model, references, identifier, class_noun, base, seed)
    found = None if config is None else problems.collect(audited, config, problems, sized)
    counts = problems.collect(lambda: SampleCounts(per_prompt=num))
    if problems.list:
        raise Refused(problems.list)
    options = {"counts": counts, "every_use": full, "seed": seed}
    if encoders is not None:
        options["encoders"] = encoders
    evaluator = evaluator_of(config, found.pictures, **options)
    tuned = evaluator.measure(_sampler(load(model), "tuned", evaluator, progress))
    pipeline = load(base)
    weights = latents.model_fingerprint(pipeline)
    original = evaluator.measure_original(
        _sampler(pipeline, "original", evaluator, progress),
        weights,
        cache or cache_folder(),
    )
    return Evaluation(tuned, original, evaluator.encoders.name)


def _config(
    model: str | Path,
    references: str | Path,
    identifier: str,
    class_noun: str,
    base: str | Path,
    seed: int,
) -> DreamBoothConfig:
    """The settings of a run that would have trained it, as far as they matter here."""
    record = read_run(Path(model))
    # A model that was trained elsewhere has no record.
    method = record.settings.get("method", DREAMBOOTH) if record else DREAMBOOTH
    return DreamBoothConfig(
        subject_images=references,
        identifier=identifier,
        class_noun=class_noun,
        output=model,
        model=base,
        method=method,
        seed=seed,
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
        fix="Name it with --base.",
    )


def _sampler(pipeline, name: str, evaluator: Evaluator, progress: bool) -> Sample:
    """How a pipeline draws, with a bar that appears with the first pictures."""
    counts, bars = evaluator.counts, []
    total = len(evaluator.prompts) * counts.per_prompt + counts.per_class

    def move() -> None:
        if not bars:
            bars.append(tqdm(desc=name, unit="picture", total=total, disable=not progress))
        bars[0].update()
        if bars[0].n == total:
            bars[0].close()

    return fast_sampler(pipeline, after_each=move)
