"""TLab Diffusion: a course on diffusion models and DreamBooth, and the library it is built on.

Import from the subpackages:

diffusion    the mathematics: schedules, losses, samplers, guidance
picturebook  a small world of pictures: scenes, captions, drawings
plots        figures from arrays
training     the training step and loop that everything shares
pipelines    load a Stable Diffusion pipeline and sample from it
evaluation   metrics and the networks that compute them
pretraining  train the models that the course ships
dreambooth   fine-tune a pipeline to a subject
course       exercises, checks and widgets of the lessons
"""

__version__ = "0.1.0"
