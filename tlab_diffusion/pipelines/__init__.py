"""Load a Stable Diffusion pipeline and sample from it; the shipped one, `picturebook`, is here.

    pipeline = load("picturebook")
    for picture in sample(pipeline, ["a red cat in the snow"], seed=0):
        ...

loading           a pipeline from a name, a folder, a file or a hub id
checks            checks of a pipeline folder before its weights are loaded
single_file       read and write a pipeline as one safetensors file
part_config       change the config of a saved part
prompts           prompts to embeddings; warnings about words that are cut or unknown
latents           pictures to the latents that the U-Net is trained on
denoiser          the U-Net with prompts and guidance, as samplers call it
sampler_settings  solver, steps and guidance: the defaults, and what a tuned folder records
sampling          prompts to pictures, with the samplers of `diffusion.samplers`
attention         cross-attention maps
"""

from tlab_diffusion.pipelines.denoiser import denoiser
from tlab_diffusion.pipelines.loading import PICTUREBOOK, check_model, load
from tlab_diffusion.pipelines.prompts import embed, prompt_warnings
from tlab_diffusion.pipelines.sampler_settings import (
    SamplerSettings,
    measuring_settings,
    read_sampler_settings,
    write_sampler_settings,
)
from tlab_diffusion.pipelines.sampling import decode, initial_noise, sample, settings_of
from tlab_diffusion.training.hardware import best_device

__all__ = [
    "PICTUREBOOK",
    "SamplerSettings",
    "best_device",
    "check_model",
    "decode",
    "denoiser",
    "embed",
    "initial_noise",
    "load",
    "measuring_settings",
    "prompt_warnings",
    "read_sampler_settings",
    "sample",
    "settings_of",
    "write_sampler_settings",
]
