r"""The settings of a DreamBooth run: one frozen object, right or refused.

What is left out suits the method and the model: see `defaults`.
"""

import math
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from tlab_diffusion.dreambooth.methods import LORA, METHODS, TEXTUAL_INVERSION
from tlab_diffusion.dreambooth.presets import defaults, templates
from tlab_diffusion.dreambooth.training.optimizers import OPTIMIZERS
from tlab_diffusion.errors import InputError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
# Names in files of older runs, and the names here.
RENAMED = {"prior_weight": "prior_loss_weight", "arithmetic": "precision"}


def current_names(settings: dict) -> dict:
    r"""Settings read from a run's file, under the names that they have here."""
    return {RENAMED.get(name, name): value for name, value in dict(settings).items()}


@dataclass(frozen=True, kw_only=True)
class DreamBoothConfig:
    r"""What to learn, from which model, and how.

    Settings left at None get the default of method and model when the object is made.

    Args:
        subject_images: folder of the subject's pictures.
        identifier: one rare word that will mean the subject.
        class_noun: what kind of thing the subject is, such as "robot".
        output: folder that becomes the tuned pipeline.
        model: "picturebook", a pipeline folder or a hub id.
        method: "dreambooth" trains all weights, "lora" adapters beside those of attention,
            "textual-inversion" one row: the identifier's embedding.
        lora_rank: of the adapters; for "lora" alone.
        max_steps: steps of the optimizer.
        learning_rate: of the optimizer, constant.
        adam_epsilon: gradients far below it hardly move a weight. At 1e-6 those that are nothing
            but rounding do not, and then it does not matter how a step's work is split.
        batch_size: pictures of the subject in a step, of all processes and parts together; with
            prior preservation as many pictures of the class come on top.
        prior_loss_weight: lambda of the prior-preservation loss; 0 trains without it, as Textual
            Inversion always does.
        num_class_images: pictures of the class that the original model draws.
        class_guidance_scale: guidance of these pictures. A little, for they will be asked for
            with guidance: `picturebook` learnt from unguided ones to draw its class worse, and
            more like the subject.
        train_text_encoder: whether the text encoder learns along.
        resolution: side of the square pictures in pixels, a multiple of 8.
        instance_prompt: says what the subject's pictures show; has the identifier in it. Left
            out, Textual Inversion says it in several ways.
        class_prompt: says what the class pictures show; has no identifier.
        precision: "auto", "fp32", "bf16" or "fp16", of the arithmetic; weights are float32.
        optimizer: "adamw", or "adamw8bit" to save memory on a CUDA GPU.
        checkpoint_every: steps between two checkpoints.
        seed: of everything random, from 0 up.
        snr_gamma: of min-SNR weighting; None weighs all timesteps alike.
        gradient_accumulation_steps: parts in which a step's batch is worked through, to save
            memory. The result is the same.
        gradient_checkpointing: compute activations twice instead of keeping them.
        ema_decay: of an average of the weights, which then is the result; 0 keeps none.

    Raises:
        InputError: on any setting that is wrong, by its name.
    """

    subject_images: Path
    identifier: str
    class_noun: str
    output: Path
    model: str = "picturebook"
    method: str = "dreambooth"
    lora_rank: int | None = None
    max_steps: int | None = None
    learning_rate: float | None = None
    adam_epsilon: float | None = None
    batch_size: int | None = None
    prior_loss_weight: float | None = None
    num_class_images: int = 100
    class_guidance_scale: float = 2.5
    train_text_encoder: bool | None = None
    resolution: int | None = None
    instance_prompt: str | None = None
    class_prompt: str | None = None
    precision: str = "auto"
    optimizer: str = "adamw"
    checkpoint_every: int | None = None
    seed: int = 0
    snr_gamma: float | None = None
    gradient_accumulation_steps: int = 1
    gradient_checkpointing: bool = False
    ema_decay: float | None = None

    def __post_init__(self):
        self._set("subject_images", Path(self.subject_images))
        self._set("output", Path(self.output))
        self._set("model", str(self.model))
        _check_words(self)
        _check_choice("method", self.method, METHODS)
        for name, value in self._defaults().items():
            if getattr(self, name) is None:
                self._set(name, value)
        _check_numbers(self)
        _check_choices(self)
        _check_method(self)
        _check_prompts(self)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the object is frozen once it is made

    def _defaults(self) -> dict:
        return defaults(self.method, self.model, self.identifier, self.class_noun)

    @property
    def with_prior(self) -> bool:
        """Whether the class is trained along, to preserve it."""
        return self.prior_loss_weight > 0

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
        """The prompts that the subject's pictures may come with."""
        varied = self.method == TEXTUAL_INVERSION
        if varied and self.instance_prompt == self._defaults()["instance_prompt"]:
            return tuple(each.format(self.identifier) for each in templates(self.model))
        return (self.instance_prompt,)

    @property
    def prompt_noun(self) -> str:
        """The noun that stands beside the identifier: "" where that alone means the subject."""
        return "" if self.method == TEXTUAL_INVERSION else self.class_noun

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint is written after this step."""
        return step % self.checkpoint_every == 0 or step == self.max_steps

    def as_dict(self) -> dict:
        """The settings as JSON can hold them."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(self).items()
        }


def _words(prompt: str) -> list[str]:
    """The words of a prompt, as a tokenizer that ignores case and punctuation tells them apart."""
    return [word for word in re.split(r"[\s.,;:!?'’\"()]+", prompt.lower()) if word]


def _check_words(config: DreamBoothConfig) -> None:
    for name in ("identifier", "class_noun"):
        value = getattr(config, name)
        if not isinstance(value, str) or not value.strip():
            raise InputError(name, got=repr(value), expected="a word")
        if value != value.strip() or not value.isprintable():
            raise InputError(name, got=repr(value), expected="a word, without spaces around it")
    if _words(config.identifier) != [config.identifier.lower()]:
        raise InputError(
            "identifier",
            got=repr(config.identifier),
            expected="one word, without spaces or punctuation",
            fix='A rare one, such as "sks".',
        )


def _check_numbers(config: DreamBoothConfig) -> None:
    _check_number("learning_rate", config.learning_rate, lambda x: x > 0, "above 0")
    _check_number("adam_epsilon", config.adam_epsilon, lambda x: x > 0, "above 0")
    _check_number("prior_loss_weight", config.prior_loss_weight, lambda x: x >= 0, "from 0 up")
    _check_number(
        "class_guidance_scale", config.class_guidance_scale, lambda x: x >= 0, "from 0 up"
    )
    if config.snr_gamma is not None:
        _check_number("snr_gamma", config.snr_gamma, lambda x: x > 0, "above 0")
    _check_number("ema_decay", config.ema_decay, lambda x: 0 <= x < 1, "in [0, 1)")
    lowest = {
        "max_steps": 1,
        "batch_size": 1,
        "num_class_images": 1 if config.with_prior else 0,
        "resolution": 8,
        "checkpoint_every": 1,
        "seed": 0,
        "gradient_accumulation_steps": 1,
    } | ({"lora_rank": 1} if config.method == LORA else {})
    for name, least in lowest.items():
        value = getattr(config, name)
        if type(value) is not int or value < least:
            raise InputError(name, got=repr(value), expected=f"an integer from {least} up")
    if config.resolution % 8:
        raise InputError("resolution", got=str(config.resolution), expected="a multiple of 8")


def _check_number(name: str, value: object, right, words: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not right(value):
        raise InputError(name, got=repr(value), expected=f"a number {words}")


def _check_choices(config: DreamBoothConfig) -> None:
    for name in ("train_text_encoder", "gradient_checkpointing"):
        if not isinstance(getattr(config, name), bool):
            raise InputError(name, got=repr(getattr(config, name)), expected="True or False")
    _check_choice("precision", config.precision, PRECISIONS)
    _check_choice("optimizer", config.optimizer, OPTIMIZERS)
    samples = config.samples_per_step
    if config.gradient_accumulation_steps > samples:
        raise InputError(
            "gradient_accumulation_steps",
            got=str(config.gradient_accumulation_steps),
            expected=f"at most {samples}, as many parts as a step has pictures",
        )


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(name, got=repr(value), expected="one of " + ", ".join(choices))


def _check_method(config: DreamBoothConfig) -> None:
    """Refuse settings that mean nothing to the method."""
    wrong = {}
    if config.method != LORA:
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
    identifier = config.identifier.lower()
    for name in ("instance_prompt", "class_prompt"):
        prompt = getattr(config, name)
        if not isinstance(prompt, str) or not prompt.strip() or not prompt.isprintable():
            raise InputError(name, got=repr(prompt), expected="a prompt in words")
    if identifier not in _words(config.instance_prompt):
        raise InputError(
            "instance_prompt",
            got=repr(config.instance_prompt),
            expected=f"a prompt with the identifier '{config.identifier}' in it",
            fix="Without it the model has no word to learn.",
        )
    if identifier in _words(config.class_prompt):
        raise InputError(
            "class_prompt",
            got=repr(config.class_prompt),
            expected=f"a prompt without the identifier '{config.identifier}'",
            fix="The class is what the subject shares with others.",
        )
