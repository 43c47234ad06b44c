r"""Default settings of a run, by method and size of the model.

                        dreambooth            lora                  textual-inversion
    what is trained     U-Net                 adapters of the       one row of the text
                                              U-Net's attention     encoder's embeddings
    small models
      max_steps         600                   400                   600
      learning_rate     3e-4                  2e-3                  1e-2
      text encoder      trained               has adapters          (only the row)
      lora_rank                               8
      prior             paper                 paper                 (none)
      prior_loss_weight 1                     1                     0
      batch_size        1                     2                     4
      ema_decay         0.99                  0                     0
    large models
      max_steps         800                   800                   3000
      learning_rate     5e-6                  1e-4                  5e-3
      text encoder      frozen                frozen                (only the row)
      lora_rank                               4
      prior             paper                 paper                 (none)
      prior_loss_weight 1                     1                     0
      batch_size        1                     1                     4
      ema_decay         0                     0                     0

Small models are `picturebook` and folders with the same resolution. Their defaults were chosen by
experiment. With a constant learning rate the last weights fluctuate, and an average over about the
last hundred steps (EMA) follows the prompt more often. With EMA, many steps with batch size 1 learn
more than few steps with batch size 2 in the same time. The text encoder is trained too: with a
frozen one some subjects are hardly learnt in 800 steps, and the class becomes like the subject.
Large models are all others. Their defaults are those of the methods' papers and of common use.
"""

import math

from tlab_diffusion.dreambooth.methods import DREAMBOOTH, LORA, TEXTUAL_INVERSION

SMALL_SIDE = 128  # pixels: models up to this side are small

# The target of the class half of the loss: the noise in the class pictures (arXiv:2208.12242), or
# what the original model predicts. The guidance scale is that of the class pictures.
PAPER, PREDICTION = PRIORS = ("paper", "prediction")
CLASS_GUIDANCE_SCALES = {PAPER: 2.5, PREDICTION: 1.0}

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
# For every method. A large model has small gradients, so its epsilon is smaller. A checkpoint of
# Stable Diffusion 1.5 takes 10 GB, so they are rarer.
SMALL_ALL = {
    "adam_epsilon": 1e-6,
    "checkpoint_every": 100,
    "prior": PAPER,
    "prior_loss_weight": 1.0,
    "batch_size": 2,
}
LARGE_ALL = {
    "adam_epsilon": 1e-8,
    "checkpoint_every": 400,
    "prior": PAPER,
    "prior_loss_weight": 1.0,
    "batch_size": 1,
}
# The class prompt has no identifier, so its row cannot learn from the class.
ONE_ROW = {"train_text_encoder": False, "prior_loss_weight": 0.0, "batch_size": 4}
# Prompts for the word of Textual Inversion (Section 4.1, arXiv:2208.01618). Those of small models
# use words that the captions of the picture book have.
SMALL_TEMPLATES = ("a {}", "a cartoon of a {}")
LARGE_TEMPLATES = (
    *("a photo of a {}", "a close-up photo of a {}", "a photo of the {}", "a good photo of a {}"),
    *("a cropped photo of the {}", "a picture of a {}", "a rendition of the {}", "one {}"),
)

# What else a large model is held to, where its own captions are not known.
CLASS_CONTEXTS = (
    *("a photo of {}", "{} in the snow", "{} on a beach", "a close-up photo of {}"),
    *("{} in a forest", "{} in a living room", "a painting of {}", "{} in a city street"),
    *("{} on a table", "{} at night", "a black and white photo of {}", "{} in a garden"),
    *("a drawing of {}", "{} on grass", "{} in front of a mountain", "{} under water"),
    *("a photo of {} from behind", "{} in the rain", "{} on a road", "{} in a museum"),
)
OTHER_CLASSES = (
    *("a person", "a dog", "a car", "a tree", "a house", "a cat", "a chair", "a bird"),
    *("a bottle", "a flower", "a landscape"),
)


def defaults(method: str, model: str, identifier: str, class_noun: str) -> dict:
    r"""The default settings of a method, by name.

    Args:
        method: one of `METHODS`.
        model: "picturebook", a pipeline folder or a hub id.
        identifier, class_noun: words of the prompts.
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
    settings |= {"class_guidance_scale": CLASS_GUIDANCE_SCALES[usual["prior"]]}
    return usual | of_method[method] | settings


def usual_evaluations(model: str, max_steps: int) -> int | None:
    r"""Default number of steps between two measurements: small models are measured three times a
    run, large ones never (None)."""
    return math.ceil(max_steps / 3) if native_resolution(model) <= SMALL_SIDE else None


def templates(model: str) -> tuple[str, ...]:
    """Prompt templates for Textual Inversion, each with a `{}` for the word."""
    return SMALL_TEMPLATES if native_resolution(model) <= SMALL_SIDE else LARGE_TEMPLATES


def class_prompts(model: str, class_noun: str) -> tuple[str, ...]:
    r"""Prompts that hold a model to what it knows: a quarter each is of the bare class and of other
    classes, half of the class in contexts. They come in turn.

    Args:
        model: small models get captions of the picture book, large ones plain words.
        class_noun: the subject's class.
    """
    if native_resolution(model) <= SMALL_SIDE:
        from tlab_diffusion.evaluation.world import PictureBookWorld

        return PictureBookWorld().class_prompts(class_noun)
    bare, noun = f"{_article(class_noun)} {class_noun}", class_noun.lower()
    others = [each for each in OTHER_CLASSES if each.split(maxsplit=1)[1] != noun]
    contexts = [context.format(bare) for context in CLASS_CONTEXTS]
    halves = zip(contexts[::2], contexts[1::2], others, strict=False)
    return tuple(prompt for each in halves for prompt in (bare, *each))


def prompts(identifier: str, class_noun: str) -> tuple[str, str]:
    r"""The instance prompt "a [V] class" and the class prompt "a class" (Section 3.2,
    arXiv:2208.12242)."""
    return (
        f"{_article(identifier)} {identifier} {class_noun}",
        f"{_article(class_noun)} {class_noun}",
    )


def native_resolution(model: str) -> int:
    r"""Side in pixels of the pictures that a model was trained on; 512 if it is unknown."""
    if model == "picturebook":
        return 64
    from tlab_diffusion.dreambooth.families import family_of
    from tlab_diffusion.pipelines.loading import local_folder

    folder = local_folder(model)
    if folder is None:
        return 512  # a hub model that is not downloaded yet, or no model
    try:
        return family_of(folder).native_resolution(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return 512  # a damaged folder: loading refuses it


def _article(word: str) -> str:
    return "an" if word[:1].lower() in tuple("aeiou") else "a"
