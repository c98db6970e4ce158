"""The docs site. Sphinx reads the repository's own Markdown, from its root."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "labrun"
html_title = "labrun"
extensions = ["myst_parser", "sphinx.ext.autodoc", "labdocs"]

root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "plugins/*/README.md", "infra/**.md", "benchmarks/*.md"]
exclude_patterns = [".*", "**/.*", "build", "core", "dist", "runs", "site", "tests"]

myst_enable_extensions = ["attrs_inline", "deflist", "dollarmath"]
myst_heading_anchors = 4
html_math_renderer = "mathml"

default_role = "code"  # docstrings are Markdown: `name` is code
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
autodoc_default_options = {"exclude-members": "__init__, __new__"}
autodoc_preserve_defaults = True
smartquotes = False  # they make one dash of --help

html_theme = "furo"
html_extra_path = ["labdocs/index.html"]
html_static_path = ["labdocs/static"]
html_css_files = ["labrun.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#1f5fa8",
        "color-brand-content": "#1f5fa8",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7fb2ea",
        "color-brand-content": "#7fb2ea",
    },
}
