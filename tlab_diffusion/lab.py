"""JupyterLab on the learner's own copies of the lessons."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from tlab_diffusion.copies import copy_lesson
from tlab_diffusion.files import atomic_write
from tlab_diffusion.home import JOURNAL, write_home

WORKSPACE = "default-37a8.jupyterlab-workspace"  # as JupyterLab names its default workspace
# The file browser is wide enough for the names of the lessons.
LAYOUT = {
    "left": {"collapsed": False, "visible": True, "current": "filebrowser"},
    "right": {"collapsed": True, "visible": True},
    "relativeSizes": [0.25, 0.75, 0],
}


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


def set_out_windows(work: Path) -> bool:
    """Sets the widths of JupyterLab's panels, where the learner has no layout yet.

    No setting of JupyterLab has them: they are part of a saved workspace.

    Returns:
        Whether there was a layout.
    """
    layout = work / ".jupyter" / "workspaces" / WORKSPACE
    if layout.exists():
        return True
    with atomic_write(layout) as draft:
        data = {"data": {"layout-restorer:data": LAYOUT}, "metadata": {"id": "default"}}
        draft.write_text(json.dumps(data), encoding="utf-8")
    return False


def open_lab(course: Path, extra: list[str], new: Sequence[str] = ()) -> None:
    """Runs JupyterLab with the course's settings until the learner stops it.

    It opens the tabs of last time. The home page is in front at the first start, and where
    something is new.

    Args:
        course: the folder with `lessons/` and `jupyter/`.
        extra: arguments that JupyterLab gets as they are.
        new: lines on what is new, for the home page.
    """
    work = course / "work"
    known = set_out_windows(work)
    home = write_home(course, new if known else ())  # at first everything is new
    start = "/lab" if known and not new else f"/lab/tree/{home.relative_to(course).as_posix()}"
    extra = [f"--LabApp.default_url={start}", *extra]
    # One journal and one folder of models, also for notebooks that lie elsewhere.
    os.environ.setdefault("TLAB_PROGRESS", str(work / JOURNAL))
    os.environ.setdefault("TLAB_WORK", str(work))
    os.environ["JUPYTER_CONFIG_DIR"] = str(course / "jupyter")
    # The kernel of this environment, also where the user's own folder has other kernels.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    from jupyterlab.labapp import LabApp

    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    LabApp.launch_instance(["--allow-root", *extra] if is_root else extra)
