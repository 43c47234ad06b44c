"""Load a Stable Diffusion pipeline and sample from it; the shipped one, `picturebook`, is here.

    pipeline = load("picturebook")
    for picture in sample(pipeline, ["a red cat in the snow"], seed=0):
        ...

loading    from a name, a folder, a file or a hub id to a pipeline, or one line that says why not
checks     what must be true of a folder before anything is loaded
single_file  a pipeline in one safetensors file: read and written
prompts    from prompts to what the U-Net reads; what is cut, what the model does not know
denoiser   the U-Net under prompts and guidance, as samplers call it
sampler_settings  solver, steps and guidance: the defaults, and what a tuned folder records
sampling   from prompts to pictures, through the samplers that lesson 04 derives
attention  cross-attention maps
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
