"""The lessons that the browser tests run, so that nothing else needs to."""

# Lesson: (its widget's class name, the slider that is moved).
IN_THE_BROWSER = {
    "01_noising.ipynb": ("schedule-explorer", "t"),
    "02_the_loss.ipynb": ("denoiser-explorer", "t"),
    "04_sampling.ipynb": ("sampler-explorer", "step"),
    "05_text_and_guidance.ipynb": ("guidance-explorer", "guidance-scale"),
    "06_latent_diffusion.ipynb": ("latent-walk", "position"),
    "07_dreambooth_paper.ipynb": ("before-after", "border"),
    "09_grid_search.ipynb": ("results-browser", "steps"),
}
