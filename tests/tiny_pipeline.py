"""A pipeline of `picturebook`'s shape, tiny and with random weights: quick to make and to run."""

from functools import cache

import torch
from transformers import CLIPTextModel

from tlab_diffusion.pretraining.networks import new_pipeline, new_unet, new_vae, text_config
from tlab_diffusion.pretraining.tokenizer import new_tokenizer

WIDTH = 16


@cache
def tiny_pipeline():
    """The same weights at every call; leave them as they are."""
    tokenizer = new_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = new_vae((8, 8, 8))
        text_encoder = CLIPTextModel(text_config(tokenizer, WIDTH))
        unet = new_unet((16, 32), WIDTH)
        # Text as new models read it is nearly nothing: let it be heard.
        for name, weights in unet.named_parameters():
            if "attn2" in name:
                weights.data *= 5
    return new_pipeline(vae.eval(), text_encoder.eval(), tokenizer, unet.eval())
