r"""The settings of a DreamBooth run: one frozen object, right or refused.

What is left out suits the model: small numbers for `picturebook` and folders of its size, Stable
Diffusion's for everything else.
"""

import json
import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from tlab_diffusion.errors import InputError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
SMALL_SIDE = 128  # pixels: models up to here learn as `picturebook` does
SMALL = {
    "max_steps": 400,
    "learning_rate": 3e-4,
    "adam_epsilon": 1e-6,
    "train_text_encoder": True,
    "checkpoint_every": 100,
}
LARGE = {
    "max_steps": 800,
    "learning_rate": 5e-6,
    "adam_epsilon": 1e-8,  # gradients of 860 million weights are small, each by itself
    "train_text_encoder": False,
    "checkpoint_every": 400,  # a checkpoint of Stable Diffusion 1.5 weighs 10 GB
}


@dataclass(frozen=True, kw_only=True)
class DreamBoothConfig:
    r"""What to learn, from which model, and how.

    Settings left at None get the model's default when the object is made.

    Args:
        subject_images: folder of the subject's pictures.
        identifier: one rare word that will mean the subject.
        class_noun: what kind of thing the subject is, such as "robot".
        output: folder that becomes the tuned pipeline.
        model: "picturebook", a pipeline folder or a hub id.
        max_steps: steps of the optimizer.
        learning_rate: of AdamW, constant.
        adam_epsilon: gradients far below it hardly move a weight. At 1e-6 those that are nothing
            but rounding do not, and then it does not matter how a step's work is split.
        batch_size: pictures of the subject in a step, of all processes and parts together; with
            prior preservation as many pictures of the class come on top.
        prior_weight: lambda of the prior-preservation loss; 0 trains without it.
        num_class_images: pictures of the class that the original model draws.
        class_guidance_scale: guidance of these pictures. At 1 they are what the model itself
            believes of its class, so that a model that did not change has nothing to unlearn.
        train_text_encoder: whether the text encoder learns along.
        resolution: side of the square pictures in pixels, a multiple of 8.
        instance_prompt: says what the subject's pictures show; has the identifier in it.
        class_prompt: says what the class pictures show; has no identifier.
        precision: "auto", "fp32", "bf16" or "fp16", of the arithmetic; weights are float32.
        checkpoint_every: steps between two checkpoints.
        seed: of everything random, from 0 up.
        snr_gamma: of min-SNR weighting; None weighs all timesteps alike.
        gradient_accumulation_steps: parts in which a step's batch is worked through, to save
            memory. The result is the same.
        gradient_checkpointing: compute activations twice instead of keeping them.
        ema_decay: of an average of the weights, which then is the result; None keeps none.

    Raises:
        InputError: on any setting that is wrong, by its name.
    """

    subject_images: Path
    identifier: str
    class_noun: str
    output: Path
    model: str = "picturebook"
    max_steps: int | None = None
    learning_rate: float | None = None
    adam_epsilon: float | None = None
    batch_size: int = 1
    prior_weight: float = 1.0
    num_class_images: int = 100
    class_guidance_scale: float = 1.0
    train_text_encoder: bool | None = None
    resolution: int | None = None
    instance_prompt: str | None = None
    class_prompt: str | None = None
    precision: str = "auto"
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
        for name, value in self._defaults().items():
            if getattr(self, name) is None:
                self._set(name, value)
        _check_numbers(self)
        _check_choices(self)
        _check_prompts(self)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the object is frozen once it is made

    def _defaults(self) -> dict:
        side = native_resolution(self.model)
        instance_prompt, class_prompt = prompts(self.identifier, self.class_noun)
        return (SMALL if side <= SMALL_SIDE else LARGE) | {
            "resolution": side,
            "instance_prompt": instance_prompt,
            "class_prompt": class_prompt,
        }

    @property
    def with_prior(self) -> bool:
        """Whether the class is trained along, to preserve it."""
        return self.prior_weight > 0

    def as_dict(self) -> dict:
        """The settings as JSON can hold them."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(self).items()
        }


def prompts(identifier: str, class_noun: str) -> tuple[str, str]:
    r"""The instance prompt "a [V] class" and the class prompt "a class" (Section 3.2,
    arXiv:2208.12242)."""
    return (
        f"{_article(identifier)} {identifier} {class_noun}",
        f"{_article(class_noun)} {class_noun}",
    )


def native_resolution(model: str) -> int:
    r"""Side in pixels of the pictures that a model was made for: 512 where no folder says."""
    if model == "picturebook":
        return 64
    try:
        unet, vae = (
            json.loads((Path(model) / part / "config.json").read_text(encoding="utf-8"))
            for part in ("unet", "vae")
        )
        return int(unet["sample_size"]) * 2 ** (len(vae["block_out_channels"]) - 1)
    except (OSError, ValueError, KeyError, TypeError):
        return 512  # a hub id, or no model at all, which is said where models are loaded


def _article(word: str) -> str:
    return "an" if word[:1].lower() in tuple("aeiou") else "a"


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
    _check_number("prior_weight", config.prior_weight, lambda x: x >= 0, "from 0 up")
    _check_number(
        "class_guidance_scale", config.class_guidance_scale, lambda x: x >= 0, "from 0 up"
    )
    if config.snr_gamma is not None:
        _check_number("snr_gamma", config.snr_gamma, lambda x: x > 0, "above 0")
    if config.ema_decay is not None:
        _check_number("ema_decay", config.ema_decay, lambda x: 0 <= x < 1, "in [0, 1)")
    lowest = {
        "max_steps": 1,
        "batch_size": 1,
        "num_class_images": 1 if config.with_prior else 0,
        "resolution": 8,
        "checkpoint_every": 1,
        "seed": 0,
        "gradient_accumulation_steps": 1,
    }
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
    if config.precision not in PRECISIONS:
        expected = "one of " + ", ".join(PRECISIONS)
        raise InputError("precision", got=repr(config.precision), expected=expected)
    samples = config.batch_size * (2 if config.with_prior else 1)
    if config.gradient_accumulation_steps > samples:
        raise InputError(
            "gradient_accumulation_steps",
            got=str(config.gradient_accumulation_steps),
            expected=f"at most {samples}, as many parts as a step has pictures",
        )


def _check_prompts(config: DreamBoothConfig) -> None:
    identifier = config.identifier.lower()
    for name in ("instance_prompt", "class_prompt"):
        prompt = getattr(config, name)
        if not isinstance(prompt, str) or not prompt.strip():
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
