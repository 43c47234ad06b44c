"""LoRA: adapters that start as nothing, learn alone, and come out merged."""

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from torch import nn

from tests.dreambooth.tiny import PICTURES, model_folder, new_config, run, state_of
from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.dreambooth.checkpoint.export import stored_dtypes
from tlab_diffusion.dreambooth.families.stable_diffusion import StableDiffusion
from tlab_diffusion.dreambooth.methods import lora
from tlab_diffusion.dreambooth.preflight.resources import read_parts
from tlab_diffusion.dreambooth.training.trainer import TrainStep, train
from tlab_diffusion.pretraining.networks import save_pipeline

FAMILY = StableDiffusion()
RANK = 4
PROJECTION = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cache):
    """A run of three steps; its settings and its last event."""
    config = config_for(tmp_path_factory.mktemp("run") / "out", max_steps=3)
    *_, last = run(config, cache)
    return config, last


def config_for(output, **changes):
    return new_config(output, **{"method": "lora", "lora_rank": RANK} | changes)


def fresh(folder):
    return DiffusionPipeline.from_pretrained(folder)


def inputs():
    draw = torch.Generator().manual_seed(0)
    return torch.randn(3, 4, 16, 16, generator=draw), torch.tensor([10, 500, 900])


def adapters_of(config):
    """A and B of each projection, from the newest checkpoint: {(part, projection): [A, B]}."""
    found = {}
    for name, value in sorted(state_of(config).items()):
        if name.startswith("model."):
            part, rest = name.removeprefix("model.").split(".", 1)
            projection, matrix = rest.removesuffix(".default.weight").rsplit(".", 1)
            found.setdefault((part, projection), []).append(value)
            assert matrix == f"lora_{'AB'[len(found[part, projection]) - 1]}"
    return found


def test_before_the_first_step_nothing_has_changed(tmp_path):
    x_t, t = inputs()
    prompt = torch.tensor([0, 1, 1])
    plain, adapted = fresh(model_folder()), fresh(model_folder())
    before = FAMILY.prepare(plain, new_config(tmp_path / "plain"))
    after = FAMILY.prepare(adapted, config_for(tmp_path / "lora"))
    assert torch.equal(before(x_t, t, prompt), after(x_t, t, prompt))


def test_an_adapters_gradient_is_its_projections_through_a(tmp_path):
    """W + B A has dL/dB = dL/dW A^T, and dL/dA = B^T dL/dW, which is 0 at the start."""
    x_t, t = inputs()
    gradients = []
    for config in (new_config(tmp_path / "plain"), config_for(tmp_path / "lora")):
        model = FAMILY.prepare(fresh(model_folder()), config)
        model(x_t, t, torch.tensor([0, 1, 1])).square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
        weights = dict(model.named_parameters())
    full, adapted = gradients
    adapter = f"unet.{PROJECTION}.lora_{{}}.default.weight".format
    a = weights[adapter("A")]
    expected = full[f"unet.{PROJECTION}.weight"] @ a.T
    torch.testing.assert_close(adapted[adapter("B")], expected)
    assert expected.abs().max() > 0
    assert adapted[adapter("A")].abs().max() == 0
    assert adapted[f"unet.{PROJECTION}.base_layer.weight"] is None


def test_only_adapters_learn(trained):
    config, last = trained
    before, x = fresh(config.model), last.pipeline
    for name in ("unet", "text_encoder"):
        after = getattr(x, name).state_dict()
        for key, value in getattr(before, name).state_dict().items():
            projection, kind = key.rsplit(".", 1)
            frozen = after.get(key, after.get(f"{projection}.base_layer.{kind}"))
            assert torch.equal(frozen, value), key
    assert all(b.abs().max() > 0 for _, b in adapters_of(config).values())
    start = FAMILY.prepare(fresh(config.model), config).state_dict()
    for (part, projection), (a, _) in adapters_of(config).items():
        assert not torch.equal(a, start[f"{part}.{projection}.lora_A.default.weight"])


def test_only_adapters_are_kept_in_a_checkpoint(trained):
    config, _ = trained
    state = state_of(config)
    adapters = adapters_of(config)
    tensors = [tensor for pair in adapters.values() for tensor in pair]
    # Each with two moments and a count; the step, and the losses of the steps.
    assert len(state) == 4 * len(tensors) + 2
    parts = read_parts(model_folder())
    counted = [
        lora.num_parameters(parts[n].shapes, FAMILY.lora_targets[n], RANK)
        for n in ("unet", "text_encoder")
    ]
    assert sum(tensor.numel() for tensor in tensors) == sum(counted)
    assert all(a.shape[0] == b.shape[1] == RANK for a, b in adapters.values())
    attention = [m for m in tiny_pipeline().unet.modules() if hasattr(m, "to_out")]
    layers = tiny_pipeline().text_encoder.config.num_hidden_layers
    assert len(adapters) == 4 * len(attention) + 4 * layers


def test_the_output_has_the_sums_and_all_else_as_it_was(trained):
    config, _ = trained
    before, after = fresh(config.model), fresh(config.output)
    adapters = adapters_of(config)
    for name in ("unet", "text_encoder", "vae"):
        weights = getattr(after, name).state_dict()
        expected = getattr(before, name).state_dict()
        assert weights.keys() == expected.keys()
        for key, value in expected.items():
            pair = adapters.pop((name, key.removesuffix(".weight")), None)
            if pair is None:
                assert torch.equal(weights[key], value), key
            else:
                torch.testing.assert_close(weights[key], value + pair[1] @ pair[0])
                assert not torch.equal(weights[key], value)
    assert not adapters


def test_the_output_and_the_adapters_alone_predict_what_was_learned(trained):
    config, last = trained
    alone = fresh(config.model)
    alone.load_lora_weights(config.output)
    x_t, t = inputs()
    predictions = []
    for pipeline in (last.pipeline, fresh(config.output), alone, fresh(config.model)):
        ids = pipeline.tokenizer(
            3 * ["a sks robot"], padding="max_length", return_tensors="pt"
        ).input_ids
        with torch.no_grad():
            words = pipeline.text_encoder(ids)[0]
            predictions.append(pipeline.unet(x_t, t, encoder_hidden_states=words).sample)
    learned, merged, loaded, original = predictions
    names = load_file(config.output / "pytorch_lora_weights.safetensors")
    text = {name for name in names if name.startswith("text_encoder.")}
    assert text and all(name.startswith("text_encoder.text_model.encoder.") for name in text)
    torch.testing.assert_close(merged, learned, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loaded, learned, rtol=1e-4, atol=1e-5)
    assert (original - learned).abs().max() > 1e-3


def test_a_half_precision_original_stays_so(tmp_path, cache):
    tiny = tiny_pipeline()
    save_pipeline(tmp_path / "half", tiny.vae, tiny.text_encoder, tiny.tokenizer, tiny.unet)
    config = config_for(
        tmp_path / "out", model=str(tmp_path / "half"), max_steps=2, train_text_encoder=False
    )
    run(config, cache)
    before, after = fresh(config.model), fresh(config.output)
    adapters = adapters_of(config)
    assert {part for part, _ in adapters} == {"unet"}  # as asked
    for key, value in after.text_encoder.state_dict().items():
        assert torch.equal(value, before.text_encoder.state_dict()[key])
    assert stored_dtypes(config.output)["unet"] == torch.float16
    for key, value in after.unet.state_dict().items():
        expected = before.unet.state_dict()[key]
        pair = adapters.get(("unet", key.removesuffix(".weight")))
        if pair is None:
            assert torch.equal(value, expected)
        else:  # rounded once: the sum, not its two parts
            rounded = (expected + pair[1] @ pair[0]).half().float()
            torch.testing.assert_close(value, rounded, rtol=1e-3, atol=1e-7)


def test_the_average_is_of_the_adapters_and_shares_the_rest(tmp_path, cache):
    plain, averaged = (
        config_for(tmp_path / str(decay), ema_decay=decay, max_steps=3) for decay in (0.0, 0.15)
    )
    name = f"{PROJECTION}.lora_B.default.weight"
    average = 0.0
    for event in train(plain, PICTURES, cache=cache):
        if isinstance(event, TrainStep):
            decay = min(0.15, event.step / (event.step + 10))
            now = event.pipeline.unet.state_dict()[name]
            average = decay * average + (1 - decay) * now
    *_, last = run(averaged, cache)
    torch.testing.assert_close(last.pipeline.unet.state_dict()[name], average)
    assert torch.equal(last.pipeline.unet.conv_in.weight, fresh(averaged.model).unet.conv_in.weight)


def test_adapters_start_from_the_seed_alone():
    starts = []
    for other, seed in ((0, 0), (1, 0), (0, 10**20)):  # as large as other methods take
        unet = tiny_pipeline().unet
        torch.manual_seed(other)
        before = torch.get_rng_state()
        lora.add_adapters({"unet": unet}, FAMILY.lora_targets, RANK, seed)
        assert torch.equal(torch.get_rng_state(), before)
        starts.append(unet.state_dict()[f"{PROJECTION}.lora_A.default.weight"])
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])
    assert len(starts[0].unique()) > RANK  # not all the same


def test_a_part_without_adapters_is_itself():
    part = nn.Linear(2, 2)
    assert lora.merged(part) is part
    assert lora.adapter_weights({"unet": part}) == {}
