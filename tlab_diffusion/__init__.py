"""TLab Diffusion: a course on diffusion models and DreamBooth, and the tools it builds.

Import what you need from the subpackages: `diffusion` (the mathematics), `picturebook`
(the small world of pictures) and `course` (exercises, checks and widgets).
"""

__version__ = "0.1.0"
