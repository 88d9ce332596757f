"""Sphinx settings of the documentation site.

Build it with ``python -m sphinx -W --keep-going docs site``. The pages need no network, neither to build nor to read.
"""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "andon"
author = "the andon authors"
copyright = author  # noqa: A001 - Sphinx reads this name
release = version = installed_version("andon")

extensions = [
    "andon_docs",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_ext"]
needs_sphinx = "8.2"
suppress_warnings = ["myst.header"]  # CONTRIBUTING.md goes from its title to a third-level heading

# The sources are Markdown. Two dashes in a flag must stay two dashes.
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
smartquotes = False

# Docstrings mark code with single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_use_rtype = False
python_use_unqualified_type_names = True

html_theme = "pydata_sphinx_theme"
html_title = "andon"
html_static_path = ["_static"]
html_css_files = ["andon.css"]
html_copy_source = False
html_show_sourcelink = False
html_sidebars = {
    "index": [],
    "concepts": [],
    "glossary": [],
    "results": [],
    "changelog": [],
    "lab-log": [],
    "tutorial": [],
}
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "navbar_persistent": ["search-button"],
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
