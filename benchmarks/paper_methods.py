r"""The methods that the paper's experiments compare (arXiv:2208.12242).

Each differs from `dreambooth` in one setting. `dreambooth` has the default settings except for the
steps: `tlab dreambooth` trains longer and keeps the best of three steps; here the last step is
measured, so that no metric selects what it then measures. Where the class noun is
left out of the subject's prompt, the class term stays that of the true class; a wrong noun is wrong
in both terms, as it is for a person who errs.
"""

from dataclasses import replace
from pathlib import Path

from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.presets import PAPER
from tlab_diffusion.evaluation.subject_prompts import Prompt, ten_prompts
from tlab_diffusion.picturebook import SUBJECTS

IDENTIFIER = "zwx"
STEPS = 500  # of DreamBooth; LoRA and Textual Inversion have their default numbers
WAYS = {
    "dreambooth": {},
    "without_prior": {"prior_loss_weight": 0.0},
    "textual_inversion": {"method": "textual-inversion"},
    "lora": {"method": "lora"},
    "wrong_noun": {},
    "no_noun": {"instance_prompt": f"a {IDENTIFIER}"},
}
NAMELESS = ("textual_inversion", "no_noun")  # the identifier alone means the subject
# A class that the subject is not, as different as the picture book allows.
WRONG_NOUNS = {
    "robot": "fish",
    "cat": "teapot",
    "dragon": "car",
    "bear": "house",
    "bird": "robot",
    "fish": "house",
    "teapot": "rabbit",
    "rabbit": "car",
    "house": "bird",
    "car": "cat",
}


def config_of(
    name: str, method: str, *, model: str, output: Path, steps: int | None
) -> DreamBoothConfig:
    r"""The settings of one method for one subject.

    Args:
        name: one of `SUBJECTS`.
        method: one of `WAYS`.
        model: the base.
        output: the run's folder.
        steps: of training; the way's own number if None.
    """
    noun = class_of(name)
    if steps is None and "method" not in WAYS[method]:
        steps = STEPS
    config = DreamBoothConfig(
        subject_images=Path(name),
        identifier=IDENTIFIER,
        class_noun=WRONG_NOUNS[noun] if method == "wrong_noun" else noun,
        output=output,
        model=model,
        max_steps=steps,
        prior=PAPER,  # whatever the default is
        **WAYS[method],
    )
    return replace(config, checkpoint_every=config.max_steps)


def asked(name: str, method: str) -> list[Prompt]:
    """Ten prompts with the noun that a model was trained with; metrics use the true class."""
    subject, noun = SUBJECTS[name], class_of(name)
    told = {"wrong_noun": WRONG_NOUNS[noun]} | dict.fromkeys(NAMELESS, "")
    known = subject.places, subject.colour
    return ten_prompts(IDENTIFIER, noun, *known, prompt_noun=told.get(method))


def class_of(name: str) -> str:
    """The subject's true class."""
    return SUBJECTS[name].class_noun
