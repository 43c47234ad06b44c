r"""The mathematics of diffusion models, in torch alone: read it beside the lessons.

schedules         betas, alphas_cumprod, signal-to-noise ratio
process           noising, and the exact step back when x0 is known
parameterization  epsilon, x0, v and score, each from each
losses            the noise-prediction loss and its weightings
mixture           a Gaussian mixture with its exact denoiser: the oracle of the tests
samplers          ancestral, DDIM, DPM-Solver++(2M), as generators
guidance          classifier-free guidance
unet              a U-Net written to be read
training          the training loop, as a generator, with averaged weights
"""
