"""Load a Stable Diffusion folder and draw with it; the course's own, `picturebook`, lies here.

    pipeline = load("picturebook")
    for picture in sample(pipeline, ["a red cat in the snow"], seed=0):
        ...

loading    from a name, a folder or a hub id to a pipeline, or one line that says why not
prompts    from words to what the U-Net reads; what was cut, what the world does not know
sampling   from prompts to pictures, through the samplers that lesson 04 derives
attention  which words each place of a picture looks at
"""

from tlab_diffusion.pipelines.loading import PICTUREBOOK, check_model, load
from tlab_diffusion.pipelines.prompts import embed, prompt_warnings
from tlab_diffusion.pipelines.sampling import decode, initial_noise, sample
from tlab_diffusion.training.hardware import best_device

__all__ = [
    "PICTUREBOOK",
    "best_device",
    "check_model",
    "decode",
    "embed",
    "initial_noise",
    "load",
    "prompt_warnings",
    "sample",
]
