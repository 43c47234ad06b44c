"""Textual Inversion: one word learns, and the model around it stays as it is."""

import shutil

import pytest
import torch
from diffusers import DiffusionPipeline
from tokenizers import AddedToken

from tests.dreambooth.data.test_identifier import clip_like
from tests.dreambooth.tiny import PICTURES, model_folder, new_config, run, state_of
from tlab_diffusion.dreambooth.data.identifier import token_report
from tlab_diffusion.dreambooth.families.stable_diffusion import StableDiffusion
from tlab_diffusion.dreambooth.methods.textual_inversion import add_row, add_token
from tlab_diffusion.dreambooth.preflight import checks
from tlab_diffusion.dreambooth.presets import SMALL_TEMPLATES
from tlab_diffusion.dreambooth.training.trainer import TrainStep, train
from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import parse
from tlab_diffusion.pipelines import embed
from tlab_diffusion.pretraining.tokenizer import new_tokenizer

FAMILY = StableDiffusion()
OLD, NEW = "zwx", "pipbot"  # a token of the vocabulary, and a word that falls into pieces


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", params=[OLD, NEW])
def trained(request, tmp_path_factory, cache):
    """A run of three steps for each kind of identifier; its settings and its last event."""
    config = config_for(tmp_path_factory.mktemp("run") / "out", identifier=request.param)
    *_, last = run(config, cache)
    return config, last


def config_for(output, **changes):
    return new_config(output, **{"method": "textual-inversion", "max_steps": 3} | changes)


def fresh(folder):
    return DiffusionPipeline.from_pretrained(folder)


def table(pipeline):
    return pipeline.text_encoder.get_input_embeddings().weight.detach()


def test_one_row_moves_and_all_else_stays(trained):
    config, _ = trained
    before, after = fresh(config.model), fresh(config.output)
    for name in ("unet", "vae", "text_encoder"):
        weights = getattr(after, name).state_dict()
        for key, value in getattr(before, name).state_dict().items():
            assert torch.equal(weights[key], value) or key.endswith("token_embedding.weight")
    vocabulary = len(before.tokenizer)
    (token,) = after.tokenizer(config.identifier, add_special_tokens=False).input_ids
    assert (token == vocabulary) == (config.identifier == NEW)
    assert len(table(after)) == after.text_encoder.config.vocab_size == max(vocabulary, token + 1)
    same = (table(after)[:vocabulary] == table(before)).all(dim=1)
    assert (~same).nonzero().flatten().tolist() == ([token] if token < vocabulary else [])
    noun = before.tokenizer("robot", add_special_tokens=False).input_ids
    moved = table(after)[token] - table(before)[noun[0]]
    assert 0 < moved.norm() < 1  # three steps from where it started
    assert torch.equal(table(after)[token], state_of(config)["model." + ROW])


ROW = "text_encoder.embeddings.token_embedding.row"


def test_a_checkpoint_has_the_row_and_little_else(trained):
    config, _ = trained
    moments = {"optimizer.0.exp_avg", "optimizer.0.exp_avg_sq", "optimizer.0.step"}
    assert state_of(config).keys() == {"step", "losses", "model." + ROW} | moments


def test_the_output_means_what_was_learned(trained):
    config, last = trained
    prompts = [f"a {config.identifier} in the snow", "a robot in the snow"]
    with torch.no_grad():
        learned, after, before = (
            embed(pipeline, prompts)
            for pipeline in (last.pipeline, fresh(config.output), fresh(config.model))
        )
    assert torch.equal(after, learned)
    assert torch.equal(after[1], before[1])
    assert (after[0] - before[0]).abs().max() > 1e-3
    pipeline = fresh(config.output)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline(prompts[0], num_inference_steps=1, output_type="np").images.std() > 0


@pytest.mark.parametrize("identifier", [NEW.capitalize(), "ROBO_1", "[V]"])
def test_a_new_word_is_one_token_however_it_is_written(identifier):
    pipeline = fresh(model_folder())
    number = len(pipeline.tokenizer)
    assert add_token(pipeline.tokenizer, identifier) == number
    report = token_report(pipeline.tokenizer, identifier, f"a {identifier}", "a cat", own_row=True)
    assert (report.ids, report.new, report.problems) == ((number,), True, ())
    for text in (identifier, identifier.lower()):
        assert number in pipeline.tokenizer(f"a {text} in the snow").input_ids


@pytest.mark.parametrize("identifier", [OLD, NEW, NEW.capitalize()])
def test_it_starts_as_the_class_noun(identifier):
    pipeline = fresh(model_folder())
    add_row(pipeline.text_encoder, pipeline.tokenizer, identifier, "robot")
    with torch.no_grad():
        named, meant = embed(pipeline, [f"a striped {identifier}", "a striped robot"])
    assert torch.equal(named, meant)


def test_a_noun_of_several_tokens_gives_their_mean():
    pipeline = fresh(model_folder())
    rows = table(pipeline)
    noun = pipeline.tokenizer("teapot cat", add_special_tokens=False).input_ids
    add_row(pipeline.text_encoder, pipeline.tokenizer, OLD, "teapot cat")
    row = pipeline.text_encoder.get_input_embeddings().row
    torch.testing.assert_close(row, (rows[noun[0]] + rows[noun[1]]) / 2)


def test_the_rows_gradient_is_that_of_the_whole_table(tmp_path):
    """Both meanings of the token are the same at the start, so their gradients must be."""
    draw = torch.Generator().manual_seed(0)
    x_t, t = torch.randn(2, 4, 16, 16, generator=draw), torch.tensor([10, 900])
    pipeline = fresh(model_folder())
    token = pipeline.tokenizer.convert_tokens_to_ids(f"{OLD}</w>")
    (noun,) = pipeline.tokenizer("robot", add_special_tokens=False).input_ids
    table(pipeline)[token] = table(pipeline)[noun]
    full = {"identifier": OLD, "instance_prompt": f"a {OLD}", "train_text_encoder": True}
    gradients = []
    for config in (new_config(tmp_path, **full), config_for(tmp_path, identifier=OLD)):
        model = FAMILY.prepare(pipeline, config)
        model(x_t, t, torch.tensor([0, 0])).square().mean().backward()
        embedding = pipeline.text_encoder.get_input_embeddings()
        gradients.append(
            embedding.row.grad if hasattr(embedding, "row") else embedding.weight.grad[token]
        )
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0])
    frozen = {name: p.grad for name, p in model.named_parameters() if not p.requires_grad}
    assert len(frozen) == len(list(model.parameters())) - 1


@pytest.mark.parametrize("tokenizer", [new_tokenizer, clip_like])
def test_a_new_token_is_a_word_by_itself(tmp_path, tokenizer):
    tokenizer().save_pretrained(tmp_path / "before")
    tokenizer = type(tokenizer()).from_pretrained(tmp_path / "before")
    others = ["pipbots", "apipbot", "pip bot", "robot", "a cat in the snow"]
    before = tokenizer(others).input_ids
    token = add_token(tokenizer, NEW)
    assert token == len(tokenizer) - 1 == add_token(tokenizer, NEW)
    tokenizer.save_pretrained(tmp_path / "after")
    for each in (tokenizer, type(tokenizer).from_pretrained(tmp_path / "after")):
        assert each(others).input_ids == before
        for text in (f"a {NEW}.", "A PipBot, please", f"({NEW})'s"):
            assert each(text).input_ids.count(token) == 1


@pytest.mark.parametrize("method", ["dreambooth", "textual-inversion"])
def test_a_tokenizer_longer_than_the_table_is_refused(tmp_path, method):
    pipeline = fresh(model_folder())
    rows = len(pipeline.tokenizer)
    pipeline.tokenizer.add_tokens(["one", "two"])
    line = f"model: got a tokenizer with {rows + 2} tokens, and {rows} embeddings"
    with pytest.raises(InputError, match=line):
        FAMILY.prepare(pipeline, new_config(tmp_path, method=method, identifier=NEW))
    # It is refused from the folder alone, before a model is loaded.
    folder = shutil.copytree(model_folder(), tmp_path / "model")
    pipeline.tokenizer.save_pretrained(folder / "tokenizer")
    with pytest.raises(InputError, match=line):
        checks._tokenizer(folder)


@pytest.mark.parametrize("special", ["<|endoftext|>", "<|startoftext|>", "<|EndOfText|>", "[mask]"])
def test_a_special_token_is_refused(special):
    pipeline = fresh(model_folder())
    if special == "[mask]":
        pipeline.tokenizer.add_tokens([AddedToken(special, special=True)])
        pipeline.text_encoder.resize_token_embeddings(len(pipeline.tokenizer))
    before = table(pipeline).clone()
    with pytest.raises(InputError, match="identifier: got .*a special token of the tokenizer"):
        add_row(pipeline.text_encoder, pipeline.tokenizer, special, "robot")
    assert torch.equal(table(pipeline), before)


def test_the_embedding_alone_is_a_file_that_diffusers_reads(trained):
    config, last = trained
    alone = fresh(config.model)
    alone.load_textual_inversion(config.output)
    prompts = [f"a {config.identifier} in the snow", "a robot in the snow"]
    with torch.no_grad():
        assert torch.equal(embed(alone, prompts), embed(last.pipeline, prompts))


def test_a_token_of_the_vocabulary_stays_where_it_is():
    tokenizer = new_tokenizer()
    size = len(tokenizer)
    assert add_token(tokenizer, OLD) == tokenizer.convert_tokens_to_ids(f"{OLD}</w>")
    assert len(tokenizer) == size


def test_the_picture_book_knows_the_templates():
    tokenizer = new_tokenizer()
    for template in SMALL_TEMPLATES:
        text = template.format(OLD)
        assert parse(text).unknown_words == []
        assert len(tokenizer.tokenize(text)) == len(text.split())


def test_the_average_is_of_the_row(tmp_path, cache):
    plain, averaged = (config_for(tmp_path / str(decay), ema_decay=decay) for decay in (0.0, 0.15))
    average = (
        FAMILY.prepare(fresh(plain.model), plain).text_encoder.get_input_embeddings().row.detach()
    )
    for event in train(plain, PICTURES, cache=cache):
        if isinstance(event, TrainStep):
            decay = min(0.15, event.step / (event.step + 10))
            row = event.pipeline.text_encoder.get_input_embeddings().row.detach()
            average = decay * average + (1 - decay) * row
    run(averaged, cache)
    torch.testing.assert_close(table(fresh(averaged.output))[-1], average)


def report(tokenizer, identifier, own_row=True):
    if own_row:
        add_token(tokenizer, identifier)
    return token_report(tokenizer, identifier, f"a {identifier}", "a robot", own_row=own_row)


def test_the_report_names_the_new_token(tmp_path):
    new_tokenizer().save_pretrained(tmp_path)
    tokenizer = type(new_tokenizer()).from_pretrained(tmp_path)
    size = len(tokenizer)
    assert "splits into common pieces" in str(report(tokenizer, NEW, own_row=False))
    assert str(report(tokenizer, NEW)) == f"identifier '{NEW}': 1 new token: {NEW} ({size})"
    assert str(report(tokenizer, OLD)).startswith(f"identifier '{OLD}': 1 token: {OLD}")
    (warning,) = report(tokenizer, "teapot").warnings
    assert "the subject replaces it" in warning
