r"""The mathematics of diffusion models, in torch alone.

Read the files in this order; each needs only those above it.

schedules         betas, alphas_cumprod, signal-to-noise ratio
process           noising, and the exact reverse step when x0 is known
parameterization  epsilon, x0, v and score, and how to convert between them
losses            the noise-prediction loss and its weightings
unet              a small U-Net, conditional on a label or an embedding
points            a small network for points
samplers          ancestral, DDIM, DPM-Solver++(2M), as generators
edm               the sigma parameterisation, and Heun's method
guidance          classifier-free guidance
latents           sampling latents, guided sampling, interpolation
conditioning      the contrastive loss of CLIP, and cross-attention
mixture           a Gaussian mixture with its exact denoiser, for tests and lessons
isotropic         a mixture around a few pictures, with its exact denoiser

`_check` checks arguments. The training loop is `tlab_diffusion.training.loop`.
"""
