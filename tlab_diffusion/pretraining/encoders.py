r"""Training of the measuring pair, both by telling what belongs together in a batch.

The image-text encoders match pictures with their captions; the image-only encoder matches two
pictures of the same character, among others of the same class and colour. Most of these characters
have oddities, for subjects have some, and many are seen as the autoencoder keeps them, for so are
all pictures that a model draws. Both losses are the two cross-entropies of arXiv:2103.00020,
Figure 3. Both may start from the recognisers' trunk, which knows the world already.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation import shipped_encoders
from tlab_diffusion.evaluation.networks import load_weights, save_weights
from tlab_diffusion.evaluation.pictures import FIRST_TEST_SEED, SIZE, resized
from tlab_diffusion.evaluation.recognisers import Recogniser
from tlab_diffusion.evaluation.reconstruction import reconstruct
from tlab_diffusion.evaluation.shipped_encoders import Identity, ImageText
from tlab_diffusion.picturebook import (
    EXPRESSIONS,
    SUBJECTS,
    Scene,
    caption,
    random_scene,
    subject_pictures,
    subject_scene,
)
from tlab_diffusion.pretraining import augment
from tlab_diffusion.pretraining.characters import (
    KINDS,
    SCENES_EACH,
    cached_characters,
    character_scenes,
    draw,
)
from tlab_diffusion.pretraining.recognisers import FILE as RECOGNISERS
from tlab_diffusion.pretraining.recognisers import cached_reconstructions
from tlab_diffusion.pretraining.stage import NewBatch, StageConfig, check_state, run_stage
from tlab_diffusion.pretraining.text import matching_loss

NUM_TEST = 256  # captions among which a picture's own should be the nearest
MEMBERS = 50  # of a subject's class, in its colour, that must not be taken for it
VISITS = 20  # scenes of each subject that are tested


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(StageConfig):
    """The numbers of either encoder in the recipe."""

    num_characters: int


@dataclass(frozen=True, kw_only=True)
class ImageTextConfig(EncoderConfig):
    """The image-text encoders' numbers in the recipe."""

    captions_per_scene: int  # each leaves other factors out


@dataclass(frozen=True, kw_only=True)
class IdentityConfig(EncoderConfig):
    """The image-only encoder's numbers in the recipe."""

    members: int  # characters of the same class and colour in a batch
    num_reconstructed: int  # of the characters, seen as the autoencoder keeps them
    reconstruction_share: float  # of the pictures of these


class ImageTextLoss(nn.Module):
    """Pictures x (B, 3, 64, 64) and the numbers of their captions' words (B, L)."""

    compares_samples = True

    def __init__(self, network: ImageText):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        image, text = self.network.image(x), self.network.caption(numbers)
        return matching_loss(image, text, self.network.log_scale)


class IdentityLoss(nn.Module):
    """Two pictures of each of B characters, a and b (B, 3, 64, 64)."""

    compares_samples = True

    def __init__(self, network: Identity):
        super().__init__()
        self.network = network
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        features = self.network.one_way(torch.cat([a, b]))
        return matching_loss(*features.chunk(2), self.log_scale)


def wordings(scenes: list[Scene], per_scene: int) -> Tensor:
    r"""Numbers of the words of captions, several of each scene: (N, per_scene, L) uint8."""
    texts = [
        caption(scene, seed=2**40 + 2**32 * wording + number)
        for number, scene in enumerate(scenes)
        for wording in range(per_scene)
    ]
    return shipped_encoders.word_numbers(texts).view(len(scenes), per_scene, -1).byte()


def captioned_batches(pictures: np.ndarray, words: Tensor, config: ImageTextConfig) -> NewBatch:
    r"""Batches of pictures (N, 64, 64, 3) uint8, each with one of its captions (N, K, L).

    Nothing is blurred: these features also tell sharp pictures from soft ones.
    """

    def new_batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(pictures), (config.batch_size,), generator=generator)
        wording = torch.randint(words.shape[1], (config.batch_size,), generator=generator)
        x = augment.shifted(pictures, chosen, 4, generator)
        x = augment.cut_out(augment.recoloured(x, 0.08, generator), 0.3, 12, generator)
        return x, words[chosen, wording].long()

    return new_batch


def character_batches(
    pictures: np.ndarray, config: IdentityConfig, reconstructions: np.ndarray | None = None
) -> NewBatch:
    r"""Batches of two pictures of each character, from `character_scenes`.

    Characters come in groups of `config.members` of the same class and colour, so that only
    their shapes, patterns and oddities tell them apart.

    Args:
        pictures: (N, 64, 64, 3) uint8.
        config: the size of a batch and of its groups, and the share of reconstructions.
        reconstructions: of the first of the pictures, (M, 64, 64, 3) uint8.
    """
    num_characters = len(pictures) // SCENES_EACH
    groups = config.batch_size // config.members
    num_soft = 0 if reconstructions is None else len(reconstructions)
    shown = pictures if reconstructions is None else np.concatenate([pictures, reconstructions])

    def new_batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        kinds = torch.randperm(len(KINDS), generator=generator)[:groups]
        members = []
        for kind in kinds.tolist():
            candidates = torch.arange(kind, num_characters, len(KINDS))
            order = torch.randperm(len(candidates), generator=generator)
            members.append(candidates[order[: config.members]])
        who = torch.cat(members)
        scenes = torch.rand(len(who), SCENES_EACH, generator=generator).argsort(dim=1)[:, :2]
        chosen = (SCENES_EACH * who[:, None] + scenes).T.flatten()
        soft = torch.rand(len(chosen), generator=generator) < config.reconstruction_share
        chosen = torch.where(soft & (chosen < num_soft), len(pictures) + chosen, chosen)
        x = augment.shifted(shown, chosen, 3, generator)
        x = augment.softened(augment.recoloured(x, 0.04, generator), 0.4, generator)
        a, b = augment.cut_out(x, 0.2, 8, generator).chunk(2)
        return a, b

    return new_batch


def pretrain_encoders(
    folder: Path,
    image_text: ImageTextConfig,
    identity: IdentityConfig,
    *,
    resume: bool,
    out: Path,
    vae=None,
) -> None:
    r"""Train, measure and write both encoders, from the recognisers' trunk if `out` has it.

    Args:
        folder: of the run: pictures, states, and the logs `image_text.jsonl`, `identity.jsonl`.
        image_text, identity: the recipe's numbers.
        resume: resume from the states in `folder`, if there are any.
        out: where `image_text.safetensors` and `identity.safetensors` are written.
        vae: the autoencoder whose softness the image-only encoder should bear; None leaves
            reconstructions out.
    """
    pretrain_image_text(folder, image_text, resume=resume, out=out)
    pretrain_identity(folder, identity, resume=resume, out=out, vae=vae)


def pretrain_image_text(folder: Path, config: ImageTextConfig, *, resume: bool, out: Path) -> None:
    """Train, measure and write the image-text encoders; see `pretrain_encoders`."""
    check_state(folder, "image_text", config, resume=resume)
    torch.manual_seed(config.seed)
    network = ImageText()
    _start_from_recognisers(network.trunk, out)
    pictures = cached_characters(folder / "characters", config.num_characters)
    scenes = character_scenes(0, config.num_characters)
    batches = captioned_batches(pictures, wordings(scenes, config.captions_per_scene), config)
    file = out / shipped_encoders.IMAGE_TEXT_FILE.name
    unseen = [random_scene(FIRST_TEST_SEED + i, held_out=None) for i in range(NUM_TEST)]
    test = draw(unseen, progress=False), [caption(scene) for scene in unseen]

    def measure(ema: ImageTextLoss, step: int) -> dict:
        save_weights(ema.network, file)
        return retrieval(load_weights(ImageText(), file), *test)

    run_stage("image_text", folder, ImageTextLoss(network), batches, config, measure)


def pretrain_identity(
    folder: Path, config: IdentityConfig, *, resume: bool, out: Path, vae=None
) -> None:
    """Train, measure and write the image-only encoder; see `pretrain_encoders`."""
    check_state(folder, "identity", config, resume=resume)
    if config.num_characters < len(KINDS) * config.members:
        raise InputError(
            "recipe identity.num_characters",
            got=str(config.num_characters),
            expected=f"{len(KINDS) * config.members} or more, for groups of {config.members}",
        )
    torch.manual_seed(config.seed)
    network = Identity()
    _start_from_recognisers(network.trunk, out)
    pictures = cached_characters(folder / "characters", config.num_characters, oddities=True)
    reconstructions = None
    if vae is not None and config.num_reconstructed:
        first = cached_characters(
            folder / "characters", config.num_reconstructed, True, vae.config.sample_size
        )
        reconstructions = cached_reconstructions(folder, "odd-reconstructions", vae, first)
    file = out / shipped_encoders.IDENTITY_FILE.name
    test = subject_trial(VISITS, MEMBERS)
    through = None if vae is None else _through(vae, test)

    def measure(ema: IdentityLoss, step: int) -> dict:
        save_weights(ema.network, file)
        shipped = load_weights(Identity(), file)
        record = known_subjects(shipped, test)
        if through is not None:
            record["known_when_reconstructed"] = known_subjects(shipped, through)["subjects_known"]
        return record

    batches = character_batches(pictures, config, reconstructions)
    run_stage("identity", folder, IdentityLoss(network), batches, config, measure)


def retrieval(model: ImageText, pictures: np.ndarray, captions: list[str]) -> dict[str, float]:
    """How often a picture's own caption is the nearest of all, and a caption's own picture."""
    similarity = (
        shipped_encoders.image_features(pictures, model)
        @ shipped_encoders.text_features(captions, model).T
    )
    own = torch.arange(len(captions))
    return {
        f"own_{what}_first_of_{len(captions)}": round(hits.float().mean().item(), 4)
        for what, hits in (
            ("caption", similarity.argmax(dim=1) == own),
            ("picture", similarity.argmax(dim=0) == own),
        )
    }


def subject_trial(visits: int, members: int) -> dict[str, dict[str, np.ndarray]]:
    r"""For each subject: its references, unseen scenes of it, and members of its class.

    The scenes change place, view, mood and accessory; the members are as plain as the references,
    and of the subject's colour.
    """
    test = {}
    for name, subject in SUBJECTS.items():
        kind = {"class_noun": subject.class_noun, "colour": subject.colour, "pattern": "plain"}
        kind |= {"style": "cartoon", "held_out": None}
        seeds = range(FIRST_TEST_SEED, FIRST_TEST_SEED + members)
        others = [
            random_scene(seed, view="side" if seed % 5 == 2 else "front", **kind) for seed in seeds
        ]
        test[name] = {
            "references": np.stack(subject_pictures(name)),
            "scenes": draw(_visits(name, visits), progress=False),
            "members": draw(others, progress=False),
        }
    return test


def _through(vae, test: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    """The same trial, with the scenes as an autoencoder keeps them."""
    return {
        name: parts | {"scenes": _kept_of(name, len(parts["scenes"]), vae)}
        for name, parts in test.items()
    }


def _kept_of(name: str, visits: int, vae) -> np.ndarray:
    scenes = draw(_visits(name, visits), vae.config.sample_size, progress=False)
    return resized(reconstruct(vae, scenes), SIZE)


def _visits(name: str, visits: int) -> list[Scene]:
    return [_visit(name, seed) for seed in range(100, 100 + visits)]


def _visit(name: str, seed: int) -> Scene:
    drawn = random_scene(seed, held_out=None)
    view = "side" if seed % 4 == 0 else "front"
    expression = EXPRESSIONS[seed % len(EXPRESSIONS)]
    return subject_scene(
        name, seed, view=view, expression=expression, place=drawn.place, accessory=drawn.accessory
    )


def known_subjects(model: Identity, test: dict[str, dict[str, np.ndarray]]) -> dict[str, float]:
    r"""How often the nearest picture is one of the same subject (design: at least 95 %).

    The candidates are all subjects' references, and the members of the subject's own class and
    colour. Also: how often a member is taken for the subject, judged against the references and
    the other members.
    """
    features = {
        name: {kind: shipped_encoders.identity_features(x, model) for kind, x in pictures.items()}
        for name, pictures in test.items()
    }
    references = torch.cat([parts["references"] for parts in features.values()])
    owner = [name for name, parts in features.items() for _ in parts["references"]]
    right, taken = {}, []
    for name, parts in features.items():
        candidates = torch.cat([references, parts["members"]])
        names = [*owner, *[None] * len(parts["members"])]
        nearest = (parts["scenes"] @ candidates.T).argmax(dim=1).tolist()
        right[name] = sum(names[i] == name for i in nearest) / len(nearest)
        likeness = parts["members"] @ candidates.T
        itself = torch.arange(len(parts["members"]))
        likeness[itself, len(owner) + itself] = -1
        taken += [names[i] == name for i in likeness.argmax(dim=1).tolist()]
    mean = sum(right.values()) / len(right)
    return {
        "subjects_known": round(mean, 4),
        "members_taken_for_subjects": round(sum(taken) / len(taken), 4),
    } | {name: round(share, 3) for name, share in right.items()}


def _start_from_recognisers(trunk: nn.Module, out: Path) -> None:
    if (out / RECOGNISERS).is_file():
        known = load_weights(Recogniser(), out / RECOGNISERS).trunk
        trunk.load_state_dict(known.state_dict())
