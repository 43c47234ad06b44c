"""JupyterLab as the course shows it. `tlab lab` points JUPYTER_CONFIG_DIR at this folder."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

c = get_config()  # noqa: F821  (JupyterLab defines it)

# Lessons link to figures and notes outside their own folder.
c.ServerApp.root_dir = str(ROOT)

c.LabApp.default_url = "/lab/tree/work/Home.md"

# What is installed stays what the course was tested with. (No news and no search for updates:
# labconfig/default_setting_overrides.json.)
c.LabApp.extension_manager = "readonly"

# custom/custom.css: short lines of prose, and still pictures in place of widgets without a kernel.
c.LabApp.custom_css = True

# Kernels otherwise warn, at each start, that they could be listened to.
c.MappingKernelManager.transport_encryption = "auto"

# Themes and open tabs are the learner's own: they live beside the learner's notebooks.
c.LabApp.user_settings_dir = str(ROOT / "work" / ".jupyter" / "user-settings")
c.LabApp.workspaces_dir = str(ROOT / "work" / ".jupyter" / "workspaces")
