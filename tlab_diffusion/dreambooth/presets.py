r"""What settings are when nobody says otherwise: they suit the method and the size of the model.

                        dreambooth            lora                  textual-inversion
    what learns         U-Net                 adapters of the       one row of the text
                                              U-Net's attention     encoder's embeddings
    small models
      max_steps         600                   400                   600
      learning_rate     3e-4                  2e-3                  1e-2
      text encoder      learns too            has adapters too      (only the row)
      lora_rank                               8
      prior_loss_weight 1                     1                     0
      batch_size        1                     2                     4
      ema_decay         0.99                  0                     0
    large models
      max_steps         800                   800                   3000
      learning_rate     5e-6                  1e-4                  5e-3
      text encoder      frozen                frozen                (only the row)
      lora_rank                               4
      prior_loss_weight 1                     1                     0
      batch_size        1                     1                     4
      ema_decay         0                     0                     0

Small are `picturebook` and folders of its size, whose numbers were chosen by looking at what came
out: there the last weights of a constant learning rate are restless, and an average of the last
hundred steps obeys the prompt more often. With it, many steps of one picture learn more than few
of two in the same time. Their text encoder learnt along with the U-Net, and goes on doing so: with
a frozen one some subjects are hardly learnt in 800 steps, and the class takes on their looks. Large
is everything else, with the numbers of the methods' papers and of common use.
"""

import math

from tlab_diffusion.dreambooth.methods import DREAMBOOTH, LORA, TEXTUAL_INVERSION

SMALL_SIDE = 128  # pixels: models up to here learn as `picturebook` does

SMALL = {
    DREAMBOOTH: {
        "max_steps": 600,
        "batch_size": 1,
        "learning_rate": 3e-4,
        "train_text_encoder": True,
        "ema_decay": 0.99,
    },
    LORA: {"max_steps": 400, "learning_rate": 2e-3, "train_text_encoder": True, "lora_rank": 8},
    TEXTUAL_INVERSION: {"max_steps": 600, "learning_rate": 1e-2},
}
LARGE = {
    DREAMBOOTH: {"max_steps": 800, "learning_rate": 5e-6, "train_text_encoder": False},
    LORA: {"max_steps": 800, "learning_rate": 1e-4, "train_text_encoder": False, "lora_rank": 4},
    TEXTUAL_INVERSION: {"max_steps": 3000, "learning_rate": 5e-3},
}
# Of every method. A large model's gradients are small, each by itself, and a checkpoint of all of
# Stable Diffusion 1.5 weighs 10 GB.
SMALL_ALL = {
    "adam_epsilon": 1e-6,
    "checkpoint_every": 100,
    "prior_loss_weight": 1.0,
    "batch_size": 2,
}
LARGE_ALL = {
    "adam_epsilon": 1e-8,
    "checkpoint_every": 400,
    "prior_loss_weight": 1.0,
    "batch_size": 1,
}
# The class prompt has no identifier, so its row cannot learn from the class.
ONE_ROW = {"train_text_encoder": False, "prior_loss_weight": 0.0, "batch_size": 4}
# Contexts in which Textual Inversion shows its word (Section 4.1, arXiv:2208.01618): for small
# models in words that the picture book's captions use.
SMALL_TEMPLATES = ("a {}", "a cartoon of a {}")
LARGE_TEMPLATES = (
    *("a photo of a {}", "a close-up photo of a {}", "a photo of the {}", "a good photo of a {}"),
    *("a cropped photo of the {}", "a picture of a {}", "a rendition of the {}", "one {}"),
)


def defaults(method: str, model: str, identifier: str, class_noun: str) -> dict:
    r"""The settings of a method, by name.

    Args:
        method: one of `METHODS`.
        model: "picturebook", a pipeline folder or a hub id.
        identifier, class_noun: what the prompts are about.
    """
    side = native_resolution(model)
    of_all, of_method = (SMALL_ALL, SMALL) if side <= SMALL_SIDE else (LARGE_ALL, LARGE)
    instance_prompt, class_prompt = prompts(identifier, class_noun)
    settings = {
        "resolution": side,
        "instance_prompt": instance_prompt,
        "class_prompt": class_prompt,
    }
    if method == TEXTUAL_INVERSION:
        settings |= {"instance_prompt": f"{_article(identifier)} {identifier}"}
    usual = {"ema_decay": 0.0} | of_all | (ONE_ROW if method == TEXTUAL_INVERSION else {})
    return usual | of_method[method] | settings


def usual_evaluations(model: str, max_steps: int) -> int | None:
    r"""Steps between two measurements if nobody says: small models are measured three times a run,
    large ones never (None)."""
    return math.ceil(max_steps / 3) if native_resolution(model) <= SMALL_SIDE else None


def templates(model: str) -> tuple[str, ...]:
    """Ways to say a word to a model: each with a place for it."""
    return SMALL_TEMPLATES if native_resolution(model) <= SMALL_SIDE else LARGE_TEMPLATES


def prompts(identifier: str, class_noun: str) -> tuple[str, str]:
    r"""The instance prompt "a [V] class" and the class prompt "a class" (Section 3.2,
    arXiv:2208.12242)."""
    return (
        f"{_article(identifier)} {identifier} {class_noun}",
        f"{_article(class_noun)} {class_noun}",
    )


def native_resolution(model: str) -> int:
    r"""Side in pixels of the pictures that a model was made for: 512 where no folder here says."""
    if model == "picturebook":
        return 64
    from tlab_diffusion.dreambooth.families import family_of
    from tlab_diffusion.pipelines.loading import local_folder

    folder = local_folder(model)
    if folder is None:
        return 512  # a hub model that is not here yet, or no model at all
    try:
        return family_of(folder).native_resolution(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return 512  # a damaged folder, which is refused where models are loaded


def _article(word: str) -> str:
    return "an" if word[:1].lower() in tuple("aeiou") else "a"
