"""A pipeline of `picturebook`'s shape, tiny and with random weights: quick to make and to run."""

import copy
from functools import cache

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel

from tlab_diffusion.pretraining.networks import new_pipeline, new_unet, new_vae, text_config
from tlab_diffusion.pretraining.tokenizer import new_tokenizer

WIDTH = 16


def tiny_pipeline():
    """A new pipeline at every call, with the same weights: a test may change it."""
    # A deep copy of a tokenizer loses its decoder.
    return new_pipeline(tokenizer=new_tokenizer(), **copy.deepcopy(_networks()))


@cache
def _networks():
    # Whoever asks first may do so with another device for new tensors.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(0)
        vae = new_vae((8, 8, 8))
        text_encoder = CLIPTextModel(text_config(new_tokenizer(), WIDTH))
        like = new_unet((16, 32), WIDTH).config
        unet = UNet2DConditionModel.from_config(like, layers_per_block=1)
        # The effect of the text is nearly zero in a new model: it is made larger.
        for name, weights in unet.named_parameters():
            if "attn2" in name:
                weights.data *= 5
    return {"vae": vae.eval(), "text_encoder": text_encoder.eval(), "unet": unet.eval()}
