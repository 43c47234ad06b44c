"""Before a run: counted against real tensors, computed by hand, and refused all at once."""

import os
import shutil
import socket
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from PIL import Image

from tests.dreambooth.hub_cache import keep_in_cache
from tests.dreambooth.tiny import model_folder, new_config
from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.dreambooth.checkpoint.run_record import Fingerprint, RunRecord, write_run
from tlab_diffusion.dreambooth.families.stable_diffusion import StableDiffusion
from tlab_diffusion.dreambooth.methods import DREAMBOOTH, LORA, METHODS, TEXTUAL_INVERSION, lora
from tlab_diffusion.dreambooth.preflight import resources
from tlab_diffusion.dreambooth.preflight.checks import Refused, preflight
from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import subject_pictures
from tlab_diffusion.training import hardware

GIB = 2**30
FAMILY = StableDiffusion()
STABLE_DIFFUSION = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
}
STABLE_DIFFUSION_PARTS = {
    "unet": resources.Part(859_520_964, 4),
    "text_encoder": resources.Part(123_060_480, 4),
    "vae": resources.Part(83_653_863, 4),
}


# --- Cost ------------------------------------------------------------------------------------


def really_kept(samples, *, checkpointing=False, adapt=lambda unet: None, processor=AttnProcessor):
    """Bytes of what autograd keeps of a real forward pass, weights left out.

    With checkpointing, blocks keep what goes into them, and the largest one its inside too.
    """
    unet = UNet2DConditionModel.from_config(tiny_pipeline().unet.config).train()
    unet.set_attn_processor(processor())
    adapt(unet)
    weights = {p.untyped_storage().data_ptr() for p in unet.parameters()}
    outside, insides = {}, [{}]

    def keep(kept, tensor):
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            kept[place] = tensor  # alive, so that no place is used twice
        return tensor

    def keeping(kept):
        hooks = torch.autograd.graph.saved_tensors_hooks
        return hooks(lambda tensor: keep(kept, tensor), lambda tensor: tensor)

    def block(module, *inputs):
        insides.append({})
        for tensor in filter(torch.is_tensor, inputs):
            keep(outside, tensor)
        with keeping(insides[-1]):
            return module(*inputs)

    if checkpointing:
        unet.enable_gradient_checkpointing(block)
    with keeping(outside):
        words = torch.randn(samples, 32, 16, requires_grad=True)
        unet(torch.randn(samples, 4, 16, 16), torch.zeros(samples), words)
    sizes = [sum(t.untyped_storage().nbytes() for t in kept.values()) for kept in insides]
    return sum(t.untyped_storage().nbytes() for t in outside.values()) + max(sizes)


def tiny_cost(method=DREAMBOOTH, *, fused_attention=False, checkpointing=False):
    with torch.device("meta"):
        network = FAMILY.empty_network(model_folder())
        inputs = FAMILY.example_inputs(model_folder(), 64, 32)
    resources.freeze(network, method, FAMILY)
    return resources.forward_cost(
        FAMILY,
        network,
        inputs,
        fused_attention=fused_attention,
        checkpointing=checkpointing,
    )


def test_what_is_kept_is_what_autograd_really_keeps():
    forward = tiny_cost()
    assert forward.activation_bytes == really_kept(1)
    assert 4 * forward.activation_bytes == pytest.approx(really_kept(4), rel=0.01)
    assert tiny_cost(checkpointing=True).activation_bytes == really_kept(1, checkpointing=True)


def test_what_the_lighter_methods_keep():
    frozen = tiny_cost(TEXTUAL_INVERSION)
    assert frozen.activation_bytes == really_kept(1, adapt=lambda unet: unet.requires_grad_(False))
    adapted = tiny_cost(LORA)
    kept = really_kept(
        1, adapt=lambda unet: lora.add_adapters({"unet": unet}, FAMILY.lora_targets, 1, seed=0)
    )
    # Beside this, each adapter keeps one number a token and rank.
    assert adapted.activation_bytes < kept < 1.01 * adapted.activation_bytes
    assert frozen.activation_bytes < adapted.activation_bytes < tiny_cost().activation_bytes


def test_fused_attention_and_checkpointing_keep_less():
    kept = tiny_cost().activation_bytes
    fused = tiny_cost(fused_attention=True)
    assert fused.activation_bytes == really_kept(1, processor=AttnProcessor2_0) < kept
    assert fused.flops == tiny_cost().flops
    assert tiny_cost(checkpointing=True).activation_bytes < kept / 2


def test_stable_diffusions_operations_are_the_known_number():
    """401.6 GMAC forward at 64 x 64 latents and 77 tokens, counted by hand."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(STABLE_DIFFUSION)
        inputs = torch.empty(1, 4, 64, 64), torch.zeros(1), torch.empty(1, 77, 768)
    forward = resources.forward_cost(
        FAMILY, unet, inputs, fused_attention=False, checkpointing=True
    )
    assert forward.flops == pytest.approx(803.2e9, rel=1e-3)


def test_parts_are_counted_from_headers(tmp_path):
    folder = shutil.copytree(model_folder(), tmp_path / "model")
    pipeline = tiny_pipeline()
    expected = {
        name: resources.Part(
            sum(v.numel() for v in getattr(pipeline, name).state_dict().values()), 4
        )
        for name in ("text_encoder", "unet", "vae")
    }
    assert resources.read_parts(folder) == expected
    # A variant beside it is the same part again, a half is a half.
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    half = UNet2DConditionModel.from_pretrained(folder / "unet").half()
    half.save_pretrained(folder / "unet", variant="fp16")
    assert resources.read_parts(folder) == expected
    file.unlink()
    assert resources.read_parts(folder)["unet"] == resources.Part(expected["unet"].parameters, 2)


def test_stable_diffusions_memory_and_disk_by_hand():
    budget = resources.MemoryBudget(STABLE_DIFFUSION_PARTS, 859_520_964)
    everything, unet = 1_066_235_307, 859_520_964
    assert budget.memory == 4 * everything + 12 * unet
    assert budget.folder + 2 * budget.checkpoint == 4 * everything + 2 * 12 * unet
    trained = unet + 123_060_480
    budget = resources.MemoryBudget(STABLE_DIFFUSION_PARTS, trained, half=True, ema=True)
    assert budget.memory == 4 * everything + (12 + 2 + 4) * trained
    assert budget.folder + 2 * budget.checkpoint == 4 * everything + 2 * 16 * trained
    forward = resources.ForwardCost(flops=0, activation_bytes=1000)
    assert resources.memory_needed(budget, forward, 6) == budget.memory + 4500
    budget = resources.MemoryBudget(STABLE_DIFFUSION_PARTS, unet, moments=2)
    assert budget.memory == 4 * everything + 6 * unet
    adapters = 797_184
    budget = resources.MemoryBudget(STABLE_DIFFUSION_PARTS, adapters, added=adapters)
    assert budget.memory == 4 * (everything + adapters) + 12 * adapters
    assert budget.folder + 2 * budget.checkpoint == 4 * (everything + adapters) + 2 * 12 * adapters


@pytest.mark.parametrize("samples", [1, 2, 7, 16])
def test_the_fewest_parts_that_fit(samples):
    budget = resources.MemoryBudget({"unet": resources.Part(10, 4)}, 10)
    forward = resources.ForwardCost(flops=0, activation_bytes=1000)
    for fitting in range(1, samples + 1):
        free = -(-resources.memory_needed(budget, forward, fitting) // resources.USABLE)
        parts = resources.fewest_parts(budget, forward, samples, int(free))
        assert resources.samples_at_once(samples, parts, 1) <= fitting
        assert parts == 1 or resources.samples_at_once(samples, parts - 1, 1) > fitting
    assert (
        resources.fewest_parts(
            budget, forward, samples, resources.memory_needed(budget, forward, 1)
        )
        is None
    )
    plenty = 10**9
    assert resources.fewest_parts(budget, forward, samples, plenty, at_least=samples) == samples


def test_processes_share_a_step():
    budget = resources.MemoryBudget({"unet": resources.Part(10, 4)}, 10)
    forward = resources.ForwardCost(flops=0, activation_bytes=1000)
    free = int(resources.memory_needed(budget, forward, 2) / resources.USABLE) + 1
    assert resources.fewest_parts(budget, forward, 8, free) == 4
    assert resources.fewest_parts(budget, forward, 8, free, processes=2) == 2


def test_the_speed_is_measured_and_the_memory_asked_for():
    assert 1e8 < hardware.measured_speed(torch.device("cpu"), torch.float32) < 1e14
    assert hardware.free_memory(torch.device("cpu")) > 0


# --- Preflight -------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, picture in enumerate(subject_pictures("mochi")):
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def no_weights(monkeypatch):
    """Whatever would budget weights fails."""
    for name in ("StableDiffusionPipeline", "UNet2DConditionModel", "AutoencoderKL"):
        monkeypatch.setattr(f"diffusers.{name}.from_pretrained", None)
    monkeypatch.setattr("transformers.CLIPTextModel.from_pretrained", None)
    monkeypatch.setattr("safetensors.torch.load_file", None)


def config_for(pictures, tmp_path, **changes):
    return new_config(tmp_path / "out", **{"subject_images": pictures} | changes)


@pytest.mark.usefixtures("no_weights")
def test_where_nothing_is_wrong(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "measured_speed", lambda device, dtype: 1e9)
    config = config_for(pictures, tmp_path, identifier="zwx", class_guidance_scale=3.0)
    report = preflight(config)
    assert report.config == config and report.notes == ()
    assert np.array_equal(report.pictures, np.stack(subject_pictures("mochi")))
    assert [str(finding) for finding in report.findings] == [f"{n}.png: used" for n in range(5)]
    assert report.tokens.tokens == ("zwx</w>",)
    needs, flops = report.estimate, tiny_cost().flops
    assert needs.parts == 1 and needs.problems == ()
    assert needs.training == pytest.approx(5 * 4 * 3 * flops / 0.35e9)
    assert needs.class_images == pytest.approx(4 * 15 * 2 * flops / 0.35e9)
    parts = resources.read_parts(model_folder())
    budget = resources.MemoryBudget(
        parts, parts["unet"].parameters + parts["text_encoder"].parameters
    )
    assert needs.memory == budget.memory + 4 * tiny_cost().activation_bytes
    assert needs.disk == budget.folder + 2 * budget.checkpoint
    # Four samples at the end, with 15 guided steps each.
    assert needs.pictures == 4
    assert needs.measuring == pytest.approx(4 * 15 * 2 * flops / 0.35e9)
    total = needs.training + needs.class_images + needs.measuring
    assert f"time: about {resources.duration(total)}: " in str(report)
    keeps_best = preflight(config, evaluate_every=2).estimate
    assert keeps_best.pictures == 4 * (4 + 10 + 16 + 2 * 6)  # at steps 0, 2, 4 and 5
    assert keeps_best.measuring == pytest.approx(42 * needs.measuring)
    assert keeps_best.disk == needs.disk + 2 * budget.folder
    for line in ("4.png: used", "1 token: zwx", "memory: ", "disk: ", "time: about "):
        assert line in str(report)
    assert not (tmp_path / "out").exists()


def test_prior_prediction_takes_a_frozen_copy_and_a_pass_of_the_class(
    pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(hardware, "measured_speed", lambda device, dtype: 1e9)
    unet = resources.read_parts(model_folder())["unet"].parameters
    for method, copied, passes in ((DREAMBOOTH, 4 * unet, 3), (LORA, 0, 2)):
        paper, prediction = (
            preflight(config_for(pictures, tmp_path, method=method, prior=prior)).estimate
            for prior in ("paper", "prediction")
        )
        assert prediction.memory - paper.memory == copied
        # Two samples of the subject and two of the class, which are predicted once more.
        assert prediction.training / paper.training == pytest.approx((4 * passes + 2) / 4 / passes)
        assert prediction.class_images == pytest.approx(paper.class_images / 2)  # unguided


def test_the_lighter_methods_need_less(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "measured_speed", lambda device, dtype: 1e9)
    needs = [
        preflight(config_for(pictures, tmp_path, method=method)).estimate for method in METHODS
    ]
    samples, flops = (4, 4, 2), tiny_cost().flops  # Textual Inversion has no class pictures
    passes = [
        each.training * 0.35e9 / (5 * n * flops) for each, n in zip(needs, samples, strict=True)
    ]
    assert passes == pytest.approx([3, 2, 2])
    for measure in ("memory", "disk"):
        values = [getattr(each, measure) for each in needs]
        assert values == sorted(values, reverse=True) and len(set(values)) == 3
    folder = sum(4 * part.parameters for part in resources.read_parts(model_folder()).values())
    assert needs[2].disk == folder + 4 * 16 + 2 * 12 * 16  # a row of 16 numbers


def test_a_run_that_goes_on_needs_what_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "measured_speed", lambda device, dtype: 1e9)
    config = new_config(tmp_path / "out")
    whole, left = (
        resources.estimate(
            config, model_folder(), "fp32", 32, resources.Work.of_run(config, 2, done)
        )
        for done in (0, 3)
    )
    assert left.training == pytest.approx(whole.training * 2 / 5)
    assert left.measuring == pytest.approx(whole.measuring * 2 / 4)  # steps 4 and 5
    assert left.class_images == 0 < whole.class_images


def test_another_resolution_is_measured_at_the_models_own(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "measured_speed", lambda device, dtype: 1e9)
    own, larger = (
        preflight(config_for(pictures, tmp_path, resolution=side)).estimate for side in (64, 128)
    )
    assert larger.measuring == pytest.approx(own.measuring, rel=0.2)
    assert larger.training > 3 * own.training


def test_checkpointing_takes_a_fourth_pass_and_less_memory(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "measured_speed", lambda device, dtype: 1e9)
    plain = preflight(config_for(pictures, tmp_path)).estimate
    again = preflight(config_for(pictures, tmp_path, gradient_checkpointing=True)).estimate
    assert again.training == pytest.approx(plain.training * 4 / 3)
    assert again.class_images == plain.class_images
    assert again.memory < plain.memory


@pytest.mark.usefixtures("no_weights")
def test_the_steps_parts_follow_the_memory(pictures, tmp_path, monkeypatch):
    config = config_for(pictures, tmp_path, batch_size=4)  # 8 samples a step
    needs = preflight(config).estimate
    kept = tiny_cost().activation_bytes
    for fitting, parts in ((8, 1), (7, 2), (4, 2), (3, 3), (2, 4), (1, 8)):
        free = int((needs.memory - (8 - fitting) * kept) / resources.USABLE) + 1
        monkeypatch.setattr(hardware, "free_memory", lambda device, free=free: free)
        report = preflight(config)
        assert report.config.gradient_accumulation_steps == parts
        assert report.estimate.memory <= 0.9 * report.estimate.free_memory
    monkeypatch.setattr(hardware, "free_memory", lambda device: free - 10 * kept)
    with pytest.raises(Refused, match="memory: got .* free on cpu, expected .* for one sample"):
        preflight(config)


def test_processes_agree_on_the_parts(pictures, tmp_path, monkeypatch):
    config = config_for(pictures, tmp_path, batch_size=4)
    needs = preflight(config).estimate
    little = (
        int((needs.memory - 4 * tiny_cost().activation_bytes) / resources.USABLE) + 1
    )  # another's: 4 samples
    monkeypatch.setattr(resources, "gather_object", lambda mine: [*mine, 2 * little])
    monkeypatch.setattr(resources, "PartialState", lambda: SimpleNamespace(num_processes=2))
    report = preflight(config)
    assert report.estimate.free_memory == little  # two share what the other counted
    assert report.config.gradient_accumulation_steps == 1  # four samples for each of two


def begin_run(config, inputs):
    write_run(config.output, RunRecord.of(config, inputs, torch.device("cpu")))


def test_a_resumed_run_keeps_its_parts(pictures, tmp_path):
    config = config_for(pictures, tmp_path)
    begin_run(config_for(pictures, tmp_path, gradient_accumulation_steps=2), Fingerprint())
    assert preflight(config, resume=True).config.gradient_accumulation_steps == 2
    (tmp_path / "out/run.json").write_text("{")
    with pytest.raises(Refused, match=r"run.json, which is damaged"):
        preflight(config, resume=True)


def test_a_damaged_picture_is_not_called_another_subject(pictures, tmp_path):
    config = config_for(pictures, tmp_path)
    begin_run(config, Fingerprint.of(preflight(config).pictures, "fp32"))
    assert preflight(config, resume=True).notes == ()
    file = pictures / "0.png"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(Refused) as error:
        preflight(config, resume=True)
    (problem,) = error.value.problems
    assert str(problem).startswith("subject images: got 0.png: it is damaged")


@pytest.mark.usefixtures("no_weights")
def test_everything_wrong_is_said_at_once(pictures, tmp_path, monkeypatch):
    Image.new("RGB", (20, 90)).save(pictures / "small.png")
    (pictures / "0.png").write_bytes((pictures / "0.png").read_bytes()[:500])
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("my only copy")
    monkeypatch.setattr(hardware, "free_memory", lambda device: 2**20)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=0))
    config = config_for(pictures, tmp_path, instance_prompt="sks " + 40 * "very " + "robot")
    with pytest.raises(Refused) as error:
        preflight(config)
    lines = str(error.value).splitlines()
    for line, said in zip(
        lines,
        (
            "subject images: got 0.png: it is damaged",
            "subject images: got small.png: 20 x 90 pixels, too small: it needs 32",
            "output: got ",
            "instance_prompt: got a prompt whose end",
            "memory: got 1 MiB free on cpu",
            "output: got 0 MiB free for ",
        ),
        strict=True,
    ):
        assert line.startswith(said)
    assert "thesis" not in str(error.value) and (tmp_path / "out/thesis.txt").exists()
    assert len(error.value.problems) == 6
    assert isinstance(error.value, InputError)


@pytest.mark.usefixtures("no_weights")
def test_a_bad_model_and_a_bad_precision_hide_nothing_else(tmp_path):
    (tmp_path / "empty").mkdir()
    model = shutil.copytree(model_folder(), tmp_path / "model")
    file = model / "unet/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    config = config_for(tmp_path / "empty", tmp_path, model=str(model), precision="fp16")
    with pytest.raises(Refused) as error:
        preflight(config)
    said = [str(problem) for problem in error.value.problems]
    assert [line.split(":")[0] for line in said] == ["model", "subject images", "precision"]
    assert "damaged" in said[0] and "no pictures in it" in said[1]


def test_an_empty_folder_is_to_be_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match=r"no pictures in it, .* Put 3 to 5 pictures .* there\.$"):
        preflight(config_for(tmp_path / "empty", tmp_path))


def test_a_model_that_is_none_calls_no_picture_too_small(pictures, tmp_path):
    config = config_for(pictures, tmp_path)
    begin_run(config, Fingerprint.of(preflight(config).pictures))
    (pictures / "0.png").write_bytes((pictures / "0.png").read_bytes()[:500])
    with pytest.raises(Refused) as error:
        preflight(config_for(pictures, tmp_path, model="nowhere"), resume=True)
    said = [str(problem) for problem in error.value.problems]
    assert said[0].startswith("model: got nowhere, which is not there")
    assert said[1].startswith("subject images: got 0.png: it is damaged")
    assert said[1].endswith("expected whole pictures. Mend it, or take it out of the folder.")
    assert said[2].startswith("model: got 'nowhere', expected '") and len(said) == 3


def test_a_damaged_model_does_not_call_the_pictures_another_subject(pictures, tmp_path):
    model = shutil.copytree(model_folder(), tmp_path / "model")
    config = config_for(pictures, tmp_path, model=str(model))
    begin_run(config, Fingerprint.of(preflight(config).pictures))
    (model / "vae/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(Refused) as error:
        preflight(config, resume=True)
    (problem,) = error.value.problems
    assert problem.name == "model" and "no weights in" in problem.got


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    "name",
    [
        "unet/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/tokenizer.json",
    ],
)
def test_a_config_that_is_gone_or_damaged_is_one_line(pictures, tmp_path, name):
    model = shutil.copytree(model_folder(), tmp_path / "model")
    (model / name).write_text((model / name).read_text()[:-30])
    for _ in ("damaged", "gone"):
        with pytest.raises(Refused) as error:
            preflight(config_for(pictures, tmp_path, model=str(model)))
        (problem,) = error.value.problems
        assert problem.name == "model" and str(model / name).rpartition("/")[0] in problem.got
        (model / name).unlink(missing_ok=True)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unet/config.json", "width of its text encoder"),
        ("vae/config.json", "whole pipeline folder"),
        ("tokenizer/tokenizer.json", "whole pipeline folder"),
    ],
)
def test_a_config_that_says_nothing_is_one_line(pictures, tmp_path, name, said):
    model = shutil.copytree(model_folder(), tmp_path / "model")
    (model / name).write_text("{}")
    with pytest.raises(Refused) as error:
        preflight(config_for(pictures, tmp_path, model=str(model), resolution=64))
    assert {problem.name for problem in error.value.problems} == {"model"}
    assert str(model) in str(error.value) and said in str(error.value)


def test_folders_that_are_none(tmp_path):
    (tmp_path / "file").touch()
    config = new_config(tmp_path / "file/out", subject_images=tmp_path / "nowhere")
    with pytest.raises(Refused) as error:
        preflight(config)
    said = [str(problem) for problem in error.value.problems]
    assert "nowhere, which is not there" in said[0]
    assert "file is a file" in said[1]
    assert len(said) == 2


def test_a_folder_that_may_not_be_written(pictures, tmp_path, monkeypatch):
    locked = tmp_path / "locked"
    locked.mkdir()
    # An administrator may write anywhere, so the system's answer is put in its mouth.
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != locked and may(path, mode))
    config = new_config(locked / "out", subject_images=pictures)
    with pytest.raises(Refused, match="locked is read-only"):
        preflight(config)


def test_a_cache_that_cannot_be_written_is_said_before_anything_is_loaded(
    pictures, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TLAB_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(Refused) as error:
        preflight(config_for(pictures, tmp_path))
    (problem,) = error.value.problems
    assert problem.name == "cache" and "file is a file" in problem.got
    assert "TLAB_CACHE" in problem.fix and "checkpoint" not in str(problem)


def test_captions_become_the_prompts_of_their_pictures(pictures, tmp_path):
    config = config_for(pictures, tmp_path)
    (pictures / "1.txt").write_text(f"a {config.identifier} robot on the moon")
    prompts = preflight(config).config.picture_prompts
    assert prompts[1] == f"a {config.identifier} robot on the moon"
    assert {*prompts[:1], *prompts[2:]} == {config.instance_prompt}
    (pictures / "1.txt").write_text("a robot on the moon")
    with pytest.raises(Refused, match="caption: got 'a robot on the moon' of 1.png"):
        preflight(config)


def test_only_the_parts_of_a_pipeline_count(pictures, tmp_path):
    model = shutil.copytree(model_folder(), tmp_path / "model")
    before = preflight(config_for(pictures, tmp_path, model=str(model))).estimate
    shutil.copytree(model / "unet", model / "checkpoints")
    after = preflight(config_for(pictures, tmp_path, model=str(model))).estimate
    assert (before.memory, before.disk) == (after.memory, after.disk)


def test_notes_on_few_pictures_and_unknown_words(pictures, tmp_path, monkeypatch):
    for number in (2, 3, 4):
        (pictures / f"{number}.png").unlink()
    monkeypatch.setattr("tlab_diffusion.pipelines.loading.PICTUREBOOK", model_folder())
    config = config_for(pictures, tmp_path, model="picturebook", class_noun="person")
    report = preflight(config)
    assert "2 pictures: 3 to 5, in different poses and places, teach more" in report.notes
    assert "the picture book does not know 'person'" in report.notes
    assert "splits into common pieces" in str(report)  # "sks" does, in the picture book


def test_a_hub_model_that_is_not_here_asks_nobody(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", None)
    monkeypatch.setattr(socket.socket, "connect", None)
    report = preflight(config_for(pictures, tmp_path, model="nobody/nothing-at-all", resolution=64))
    assert report.tokens is None and report.estimate is None
    assert report.notes == (
        "nobody/nothing-at-all is not downloaded yet: its tokens and needs are not known",
    )


def test_a_hub_model_in_the_cache_is_looked_at(pictures, tmp_path, monkeypatch):
    there = keep_in_cache(model_folder(), "somebody/model", tmp_path / "cache", monkeypatch)
    config = config_for(pictures, tmp_path, model="somebody/model", train_text_encoder=True)
    needs = preflight(config).estimate
    assert needs.memory == preflight(config_for(pictures, tmp_path)).estimate.memory
    (there / "vae/config.json").unlink()  # a download that was broken off
    (note,) = preflight(config_for(pictures, tmp_path, model="somebody/model", resolution=64)).notes
    assert note.startswith("somebody/model is not downloaded yet")


def test_numbers_in_words():
    assert [resources.gib(n) for n in (0, 5 * 2**20, 2.5 * GIB)] == ["0 MiB", "5 MiB", "2.5 GiB"]
    assert [resources.duration(s) for s in (4.4, 99, 600, 7200)] == [
        "4 s",
        "99 s",
        "10 min",
        "2.0 h",
    ]


@pytest.mark.parametrize("resolution", [32, 64, 128])
def test_another_resolution_than_the_models_own_is_said(pictures, tmp_path, resolution):
    notes = preflight(config_for(pictures, tmp_path, resolution=resolution)).notes
    said = f"it is trained at {resolution} pixels, and samples at 64"
    assert any(note.startswith(said) for note in notes) == (resolution != 64)
