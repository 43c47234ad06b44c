"""JupyterLab on the learner's own copies of the lessons."""

import os
from pathlib import Path

from tlab_diffusion.copies import copy_lesson


def copy_missing(course: Path) -> list[Path]:
    """Copies the lessons that `work/` lacks; existing files are the learner's and are kept.

    Returns:
        The new files.
    """
    work = course / "work"
    work.mkdir(exist_ok=True)
    copied = []
    for lesson in sorted((course / "lessons").glob("*.ipynb")):
        own = work / lesson.name
        if not own.exists():
            copy_lesson(lesson, own)
            copied.append(own)
    return copied


def open_lab(course: Path, extra: list[str]) -> None:
    """Runs JupyterLab with the course's settings until the learner stops it.

    Args:
        course: the folder with `lessons/` and `jupyter/`.
        extra: arguments that JupyterLab gets as they are.
    """
    os.environ["JUPYTER_CONFIG_DIR"] = str(course / "jupyter")
    # The kernel of this environment, also where the user's own folder has other kernels.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    from jupyterlab.labapp import LabApp

    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    LabApp.launch_instance(["--allow-root", *extra] if is_root else extra)
