"""Sphinx configuration; `make docs` builds the site into docs/_build/html."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import slamjax  # noqa: E402

project = "slamjax"
author = "The slamjax developers"
copyright = "2026, the slamjax developers"
version = release = slamjax.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    "docstrings",
    "generated_pages",
]
exclude_patterns = ["_build", "_ext", "_generated", "**.ipynb_checkpoints"]
toc_object_entries_show_parents = "hide"
default_role = "autolink"
nitpicky = True
#: Names in signatures of other packages: there are no inventories to link them by.
nitpick_ignore_regex = [
    (r"py:.*", r"(numpy|jax|jaxtyping|astropy|numpyro|matplotlib|arviz|sklearn|typing|collections|pathlib|os)\..*")
]

# docstrings say shapes and units, which annotations cannot; signatures stay short
autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autosummary_generate = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
math_number_all = False
math_numfig = False
math_eqref_format = "({number})"

# notebooks are shown as they were run: building needs no training
nb_execution_mode = "off"
nb_merge_streams = True

html_theme = "pydata_sphinx_theme"
html_title = f"slamjax {release}"
html_static_path = ["_static"]
html_css_files = ["slamjax.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "slamjax"},
    "header_links_before_dropdown": 6,
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "show_toc_level": 2,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_sidebars = {"index": [], "install": [], "quickstart": [], "theory": []}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
