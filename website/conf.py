"""Sphinx's settings for the site of the solved lessons; `website/build.py` calls it."""

project = "TLab Diffusion"
author = "TLab"
copyright = "TLab: lesson text, pictures and figures are CC BY 4.0"  # noqa: A001
language = "en"
extensions = ["myst_nb"]
exclude_patterns = ["_static"]
root_doc = "index"

# The outputs are those of the notebooks. Nothing runs here.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}  # myst-nb would load scripts for widgets from the network
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["dollarmath", "amsmath", "html_image"]
myst_heading_anchors = 3
# Titles of lessons jump from one to the next where a part has no subtitle.
suppress_warnings = ["myst.header"]

html_theme = "furo"
html_title = "TLab Diffusion"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
# One file, copied by build.py from the package sphinx-mathjax-offline.
mathjax_path = "mathjax.js"
mathjax3_config = {"options": {"enableMenu": False}}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
