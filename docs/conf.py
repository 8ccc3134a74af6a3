"""How the documentation is built: ``python -m sphinx -W --keep-going -b html docs build/docs``."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "nwa_lightning"
author = copyright = "the nwa_lightning developers"
release = version = installed_version("nwa-lightning")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "error_page",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_ext"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"nwa_lightning {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
