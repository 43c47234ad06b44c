r"""The mathematics of diffusion models, in torch alone: read it beside the lessons.

schedules         betas, alphas_cumprod, signal-to-noise ratio
process           noising, and the exact step back when x0 is known
parameterization  epsilon, x0, v and score, each from each
losses            the noise-prediction loss and its weightings
mixture           a Gaussian mixture with its exact denoiser: the oracle of the tests
isotropic         the same for a handful of pictures: a sampler without training
samplers          ancestral, DDIM, DPM-Solver++(2M), as generators
conditioning      the contrastive loss of CLIP, and cross-attention
guidance          classifier-free guidance
latents           into latents, through a guided model, and along walks
unet              a U-Net written to be read
points            a small network for points
training          the training loop, as a generator, with averaged weights
"""
