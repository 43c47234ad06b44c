"""The U-Net, its timestep embedding, and its condition."""

import pytest
import torch
from torch import nn

from tlab_diffusion.diffusion import guidance, unet
from tlab_diffusion.errors import InputError


def new_unet(**options):
    """A small U-Net whose last layer is not 0, so that its output depends on all of it."""
    torch.manual_seed(0)
    model = unet.UNet(3, (16, 32), **options)
    nn.init.normal_(model.conv_out.weight, generator=torch.Generator().manual_seed(2))
    return model


X, T = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 9, 99])


@pytest.mark.parametrize("size", [2, 5, 7, 32])
def test_an_embedding_has_the_size_that_is_asked_for(size):
    embedding = unet.timestep_embedding(T, size)
    assert embedding.shape == (3, size)
    half = size // 2
    torch.testing.assert_close(embedding[:, : 2 * half], unet.timestep_embedding(T, 2 * half))
    assert not embedding[:, 2 * half :].any()


def test_a_size_that_holds_no_frequency_is_refused():
    with pytest.raises(InputError, match="size: got 1"):
        unet.timestep_embedding(T, 1)


@pytest.mark.parametrize("options", [{"num_classes": 4}, {"condition_size": 5}], ids=str)
def test_the_condition_reaches_the_output_and_its_null_is_none(options):
    model = new_unet(**options)
    if "num_classes" in options:
        some, other, null = torch.tensor([0, 1, 2]), torch.tensor([1, 1, 2]), torch.full((3,), 4)
    else:
        some = torch.randn(3, 5)
        other, null = some.clone(), torch.zeros(3, 5)
        other[0] += 1
    out = model(X, T, some)
    changed = (out - model(X, T, other)).flatten(1).abs().amax(dim=1)
    assert changed[0] > 1e-3  # the sample whose condition differs, and only that
    torch.testing.assert_close(changed[1:], torch.zeros(2))
    torch.testing.assert_close(model(X, T, null), model(X, T))
    torch.testing.assert_close(new_unet()(X, T), model(X, T))  # the rest of the network is the same


def test_no_class_stays_zero_under_training():
    model = new_unet(num_classes=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(X, T, torch.tensor([0, 2, 2])).square().mean().backward()
    optimizer.step()
    assert not model.condition.weight[2].any()
    assert model.condition.weight.grad[0].any()


def test_classifier_free_guidance_takes_its_labels():
    model, labels = new_unet(num_classes=2), torch.tensor([0, 1, 0])
    denoiser = guidance.guided(model, labels, torch.full((3,), 2), 3.0)
    uncond, cond = model(X, T), model(X, T, labels)
    torch.testing.assert_close(denoiser(X, T), uncond + 3 * (cond - uncond), atol=1e-4, rtol=1e-4)


def test_bad_conditions_are_refused():
    with pytest.raises(InputError, match="condition: got a tensor"):
        new_unet()(X, T, torch.zeros(3, 5))
    with pytest.raises(InputError, match="one of the two"):
        unet.UNet(num_classes=2, condition_size=5)


def test_unet_keeps_the_shape_starts_at_zero_and_hears_the_time():
    model = unet.UNet(3, (16, 32))
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(model(x, torch.tensor([0, 5])), torch.zeros_like(x))
    nn.init.normal_(model.conv_out.weight)
    early, late = (model(x, torch.full((2,), t)) for t in (0, 900))
    assert early.shape == x.shape
    assert not torch.allclose(early, late)
    with pytest.raises(InputError, match="sides that divide by 2"):
        model(torch.randn(1, 3, 15, 16), torch.tensor([0]))
    with pytest.raises(InputError, match="multiples of 8"):
        unet.UNet(3, (12,))


def test_every_parameter_of_the_unet_learns():
    torch.manual_seed(0)
    model = unet.UNet(3, (16, 32))
    nn.init.normal_(model.conv_out.weight)
    model(torch.randn(2, 3, 8, 8), torch.tensor([1, 60])).square().mean().backward()
    silent = [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max()
    ]
    assert silent == []


def test_attention_knows_no_places_and_unet_no_neighbours():
    # Attention commutes with any shuffle of pixels; a batch is each of its samples alone.
    torch.manual_seed(0)
    attention, x = unet.SelfAttention(8), torch.randn(1, 8, 4, 4)
    order = torch.randperm(16)

    def shuffle(z):
        return z.flatten(2)[..., order].reshape(z.shape)

    torch.testing.assert_close(attention(shuffle(x)), shuffle(attention(x)))
    model = unet.UNet(3, (16, 32))
    nn.init.normal_(model.conv_out.weight)
    x, t = torch.randn(3, 3, 8, 8), torch.tensor([0, 500, 999])
    for i in range(3):
        one = slice(i, i + 1)
        torch.testing.assert_close(model(x, t)[one], model(x[one], t[one]), rtol=1e-4, atol=1e-4)


def test_the_way_up_sees_what_the_way_down_saw():
    torch.manual_seed(0)
    model = unet.UNet(3, (16, 32))
    nn.init.normal_(model.conv_out.weight)
    seen = []
    model.down_blocks[0].register_forward_hook(lambda *args: seen.append(args[-1]))
    nn.init.zeros_(model.downsamples[0].weight)  # only the skip is left
    out = model(torch.randn(1, 3, 8, 8), torch.tensor([3]))
    (gradient,) = torch.autograd.grad(out.sum(), seen[0])
    assert gradient.abs().max() > 0
