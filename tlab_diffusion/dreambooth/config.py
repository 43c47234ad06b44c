r"""The settings of a DreamBooth run: validated, immutable, each declared once.

A field says what it means, how it is checked, and its options in `tlab dreambooth` and `tlab grid`.
Settings that are left out get the default of the method and the model: see `presets`.
"""

import re
from collections.abc import Callable
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from functools import cached_property, partial
from pathlib import Path

from tlab_diffusion.dreambooth.methods import LORA, METHODS, TEXTUAL_INVERSION
from tlab_diffusion.dreambooth.presets import (
    CLASS_GUIDANCE_SCALES,
    PAPER,
    PREDICTION,
    PRIORS,
    class_prompts,
    defaults,
    templates,
)
from tlab_diffusion.errors import (
    InputError,
    check_bool,
    check_choice,
    check_integer,
    check_number,
)

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
ADAMW, ADAMW_8BIT = OPTIMIZERS = ("adamw", "adamw8bit")
# Names in files of older runs, and the names here.
RENAMED = {"prior_weight": "prior_loss_weight", "arithmetic": "precision"}
# What older files do not name: there was no other.
ONCE_FIXED = {"prior": PAPER}


def current_names(settings: dict) -> dict:
    r"""Settings read from a run's file, under the names that they have here."""
    return {RENAMED.get(name, name): value for name, value in dict(settings).items()}


def _setting(
    default: object = MISSING,
    *,
    help: str,
    check: Callable[[str, object], None] = lambda name, value: None,
    options: tuple[str, ...] = (),
    metavar: str | None = None,
) -> Field:
    r"""A field of `DreamBoothConfig`.

    Args:
        default: None where it depends on method and model; left out where it must be given.
        help: what it means.
        check: raises an InputError for a wrong value; called with the field's name and the value.
        options: on the command line, where they differ from the field's name.
        metavar: the value, in the help of the command line.
    """
    metadata = {"help": help, "check": check, "options": options, "metavar": metavar}
    return field(default=default, metadata=metadata)


def _check_word(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise InputError(name, got=repr(value), expected="a word")
    if value != value.strip() or not value.isprintable():
        raise InputError(name, got=repr(value), expected="a word, without spaces around it")


def _check_prompt(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise InputError(name, got=repr(value), expected="a prompt with at least one word")


def _check_resolution(name: str, value: object) -> None:
    check_integer(name, value, lowest=8)
    if value % 8:
        raise InputError(name, got=str(value), expected="a multiple of 8")


def _check_optional(name: str, value: object, check: Callable[[str, object], None]) -> None:
    if value is not None:
        check(name, value)


@dataclass(frozen=True, kw_only=True)
class DreamBoothConfig:
    r"""What to learn, from which model, and how.

    Settings left at None get the default of method and model when the object is made. What each
    setting means is said by `help` in its field, and by `tlab dreambooth --help`.

    Raises:
        InputError: if a setting is wrong; the message names it.
    """

    subject_images: Path = _setting(
        help="Folder with 3 to 5 pictures of the subject.", metavar="DIR"
    )
    identifier: str = _setting(
        help="One rare word that will mean the subject.", check=_check_word, metavar="TOKEN"
    )
    class_noun: str = _setting(
        help='What kind of thing the subject is, such as "robot".',
        check=_check_word,
        metavar="NOUN",
    )
    output: Path = _setting(help="Folder to create for the result.", metavar="DIR")
    model: str = _setting("picturebook", help='"picturebook", a pipeline folder, or a hub id.')
    method: str = _setting(
        METHODS[0],
        help="dreambooth trains all weights, lora adapters of the attention weights, "
        "textual-inversion one row of the text encoder's embeddings.",
        check=partial(check_choice, choices=METHODS),
    )
    lora_rank: int | None = _setting(
        None, help="Rank of lora's adapters.", options=("--rank", "--lora-rank")
    )
    max_steps: int | None = _setting(
        None,
        help="Optimizer steps.",
        check=check_integer,
        options=("--max-train-steps", "--max-steps"),
    )
    learning_rate: float | None = _setting(
        None, help="Learning rate of all steps.", check=partial(check_number, above=0)
    )
    adam_epsilon: float | None = _setting(
        None,
        help="Epsilon of AdamW. Gradients far below it hardly change a weight; 1e-6 "
        "suppresses gradients that are only rounding errors.",
        check=partial(check_number, above=0),
    )
    batch_size: int | None = _setting(
        None,
        help="Pictures of the subject in a step, of all processes and parts together. With prior "
        "preservation, as many pictures of the class are added.",
        check=check_integer,
        options=("--train-batch-size", "--batch-size"),
    )
    prior_loss_weight: float | None = _setting(
        None,
        help="Lambda of the prior-preservation loss; 0 trains without it.",
        check=partial(check_number, lowest=0),
        options=("--prior-loss-weight", "--prior-weight"),
    )
    num_class_images: int = _setting(
        100,
        help="Class pictures that the original model draws.",
        check=partial(check_integer, lowest=0),
    )
    prior: str | None = _setting(
        None,
        help="What the class half of the loss holds the model to: prediction, what the original "
        "model predicts for the same noisy picture; or paper, the noise in the class pictures.",
        check=partial(check_choice, choices=PRIORS),
    )
    class_guidance_scale: float | None = _setting(
        None,
        help="Guidance scale of these pictures: 1 with --prior prediction, 2.5 with paper, where "
        "unguided ones taught picturebook to draw its class worse, and more like the subject.",
        check=partial(check_number, lowest=0),
    )
    train_text_encoder: bool | None = _setting(
        None, help="Whether the text encoder is trained too.", check=check_bool
    )
    resolution: int | None = _setting(
        None, help="Side of the square pictures in pixels.", check=_check_resolution
    )
    instance_prompt: str | None = _setting(
        None,
        help="Describes the subject's pictures; contains the identifier. Without this option, "
        "textual-inversion uses several prompts.",
        check=_check_prompt,
        metavar="TEXT",
    )
    class_prompt: str | None = _setting(
        None,
        help="Describes all class pictures; does not contain the identifier. Without this option, "
        "--prior prediction uses a set of prompts: the class, the class in contexts, and other "
        "classes.",
        check=_check_prompt,
        metavar="TEXT",
    )
    # One prompt for each picture, from its caption file: preflight fills it in.
    picture_prompts: tuple[str, ...] | None = None
    precision: str = _setting(
        "auto",
        help='Precision of the arithmetic: auto, fp32 (or "no"), bf16 or fp16. Weights stay fp32.',
        check=partial(check_choice, choices=PRECISIONS),
        options=("--mixed-precision", "--precision"),
    )
    optimizer: str = _setting(
        ADAMW,
        help="adamw, or adamw8bit to save memory on a CUDA GPU.",
        check=partial(check_choice, choices=OPTIMIZERS),
    )
    checkpoint_every: int | None = _setting(
        None,
        help="Steps between two checkpoints.",
        check=check_integer,
        options=("--checkpointing-steps", "--checkpoint-every"),
    )
    seed: int = _setting(
        0, help="Seed of everything random.", check=partial(check_integer, lowest=0)
    )
    snr_gamma: float | None = _setting(
        None,
        help="Gamma of min-SNR weighting; without it all timesteps have the same weight.",
        check=partial(_check_optional, check=partial(check_number, above=0)),
    )
    gradient_accumulation_steps: int = _setting(
        1,
        help="Parts in which the batch of a step is computed, to save memory; the result is the "
        "same. More parts are used when memory is short.",
        check=check_integer,
    )
    gradient_checkpointing: bool = _setting(
        False, help="Compute activations twice instead of keeping them.", check=check_bool
    )
    ema_decay: float | None = _setting(
        None,
        help="Decay of a moving average of the weights, which then is the result; 0 keeps none.",
        check=partial(check_number, lowest=0, below=1),
    )

    def __post_init__(self):
        self._set("subject_images", Path(self.subject_images))
        self._set("output", Path(self.output))
        self._set("model", str(self.model))
        for name in ("identifier", "class_noun", "method"):  # the defaults depend on them
            _field(name).metadata["check"](name, getattr(self, name))
        _check_identifier(self)
        for name, value in self._defaults().items():
            if getattr(self, name) is None:
                self._set(name, value)
        if self.picture_prompts is not None:
            self._set("picture_prompts", tuple(self.picture_prompts))
        if self.precision == "no":  # what diffusers' scripts call it
            self._set("precision", "fp32")
        for each in settings():
            each.metadata["check"](each.name, getattr(self, each.name))
        _check_method(self)
        _check_counts(self)
        _check_prompts(self)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the object is frozen once it is made

    def _defaults(self) -> dict:
        usual = defaults(self.method, self.model, self.identifier, self.class_noun)
        scale = CLASS_GUIDANCE_SCALES.get(self.prior, usual["class_guidance_scale"])
        return usual | {"class_guidance_scale": scale}

    @property
    def with_prior(self) -> bool:
        """Whether training has a prior-preservation term."""
        return self.prior_loss_weight > 0

    @property
    def predicts_prior(self) -> bool:
        """Whether the original model's prediction is the target of the class half."""
        return self.with_prior and self.prior == PREDICTION

    @property
    def samples_per_step(self) -> int:
        """The subject's pictures in a step, and as many of the class."""
        return self.batch_size * (2 if self.with_prior else 1)

    @property
    def uses_ema(self) -> bool:
        """Whether the result is an average of the weights of the last steps."""
        return self.ema_decay > 0

    @property
    def trains_text_encoder(self) -> bool:
        """Whether anything in the text encoder learns."""
        return self.train_text_encoder or self.method == TEXTUAL_INVERSION

    @cached_property
    def instance_prompts(self) -> tuple[str, ...]:
        """One prompt for each picture where `picture_prompts` are given, else prompts for all."""
        if self.picture_prompts is not None:
            return self.picture_prompts
        varied = self.method == TEXTUAL_INVERSION
        if varied and self.instance_prompt == self._defaults()["instance_prompt"]:
            return tuple(each.format(self.identifier) for each in templates(self.model))
        return (self.instance_prompt,)

    @cached_property
    def class_prompts(self) -> tuple[str, ...]:
        """Those of the class pictures, which take them in turn."""
        several = self.prior == PREDICTION
        if several and self.class_prompt == self._defaults()["class_prompt"]:
            found = class_prompts(self.model, self.class_noun)
            return tuple(each for each in found if not has_identifier(each, self.identifier))
        return (self.class_prompt,)

    @property
    def prompts(self) -> tuple[str, ...]:
        """All prompts of training, in the order of their numbers: instance, then class prompts."""
        return (*self.instance_prompts, *(self.class_prompts if self.with_prior else ()))

    @property
    def prompt_noun(self) -> str:
        """The noun next to the identifier; "" where the identifier alone means the subject."""
        return "" if self.method == TEXTUAL_INVERSION else self.class_noun

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint is written after this step."""
        return step % self.checkpoint_every == 0 or step == self.max_steps

    def as_dict(self) -> dict:
        """The settings as JSON can hold them."""
        return {name: _as_json(value) for name, value in asdict(self).items()}


def _as_json(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def settings() -> list[Field]:
    r"""The fields of `DreamBoothConfig` that a user sets."""
    return [each for each in fields(DreamBoothConfig) if each.metadata]


def _field(name: str) -> Field:
    return next(each for each in settings() if each.name == name)


def _words(prompt: str) -> list[str]:
    """The words of a prompt, as a tokenizer that ignores case and punctuation tells them apart."""
    return [word for word in re.split(r"[\s.,;:!?'’\"()]+", prompt.lower()) if word]


def _check_identifier(config: DreamBoothConfig) -> None:
    if _words(config.identifier) != [config.identifier.lower()]:
        raise InputError(
            "identifier",
            got=repr(config.identifier),
            expected="one word, without spaces or punctuation",
            fix='Choose a rare word, such as "sks".',
        )


def _check_counts(config: DreamBoothConfig) -> None:
    """Refuse numbers that do not go together."""
    if config.with_prior:
        check_integer("num_class_images", config.num_class_images)
    samples = config.samples_per_step
    if config.gradient_accumulation_steps > samples:
        raise InputError(
            "gradient_accumulation_steps",
            got=str(config.gradient_accumulation_steps),
            expected=f"at most {samples}, as many parts as a step has pictures",
        )


def _check_method(config: DreamBoothConfig) -> None:
    """Refuse settings that mean nothing to the method."""
    wrong = {}
    if config.method == LORA:
        check_integer("lora_rank", config.lora_rank)
    else:
        wrong["lora_rank"] = None, "Only lora has adapters."
    if config.method == TEXTUAL_INVERSION:
        wrong["train_text_encoder"] = False, "Its one row learns, and nothing else."
        wrong["prior_loss_weight"] = (
            0,
            "The class prompt, without the identifier, has nothing to learn.",
        )
    for name, (right, why) in wrong.items():
        value = getattr(config, name)
        if value != right:
            got = f"{value!r} with method {config.method}"
            raise InputError(name, got=got, expected=repr(right), fix=why)


def _check_prompts(config: DreamBoothConfig) -> None:
    for prompt in config.picture_prompts or ():
        _check_prompt("picture_prompts", prompt)
        if not has_identifier(prompt, config.identifier):
            raise InputError("picture_prompts", **_no_identifier(config, prompt))
    if not has_identifier(config.instance_prompt, config.identifier):
        raise InputError("instance_prompt", **_no_identifier(config, config.instance_prompt))
    if has_identifier(config.class_prompt, config.identifier):
        raise InputError(
            "class_prompt",
            got=repr(config.class_prompt),
            expected=f"a prompt without the identifier '{config.identifier}'",
            fix="The class is what the subject shares with others.",
        )


def has_identifier(prompt: str, identifier: str) -> bool:
    r"""Whether the identifier is one of a prompt's words, in upper or lower case."""
    return identifier.lower() in _words(prompt)


def _no_identifier(config: DreamBoothConfig, prompt: str) -> dict[str, str]:
    return {
        "got": repr(prompt),
        "expected": f"a prompt with the identifier '{config.identifier}' in it",
        "fix": "Without it the model has no word to learn.",
    }
