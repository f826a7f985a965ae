"""How Sphinx makes the site of these pages: make docs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import aiotun  # noqa: E402

project = "aiotun"
author = "aiotun maintainers"
version = release = aiotun.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"aiotun {release}"
exclude_patterns = ["_build"]
pygments_style = "friendly"

myst_heading_anchors = 3
default_role = "code"  # docstrings have Markdown's `code`

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = True
autodoc_default_options = {"members": True, "show-inheritance": True}

ARGUMENT = re.compile(r"(\w+): \S")
LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)(#[^)]*)?\)")


def describe_arguments(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Make a list of fields of the lines `name: what it is`, as docstrings here have them."""
    if name == "aiotun.errors":  # a tree
        lines.insert(lines.index("    OSError"), "::")
        lines.insert(lines.index("::") + 1, "")
    inside = False
    for number, line in enumerate(lines):
        inside = inside and line.strip() != ""
        follows = not number or lines[number - 1].strip() == "" or inside
        if follows and ARGUMENT.match(line):
            inside = True
            lines[number] = f":{line.replace(': ', ':  ', 1)}"


def name_sources(app: Sphinx, document: str, content: list[str]) -> None:
    """Name files of the source that are no pages; a link to one that is gone is a warning."""
    folder = (ROOT / "docs" / document).parent

    def named(link: re.Match[str]) -> str:
        text, target = link[1], link[2]
        path = (folder / target).resolve()
        if ROOT / "docs" in path.parents:
            return link[0]
        if not path.exists():
            logging.getLogger(__name__).warning("%s: no file %s", document, target)
        inside = path.relative_to(ROOT).as_posix()
        return text if text == f"`{inside}`" else f"{text} (`{inside}` in the source)"

    content[0] = LINK.sub(named, content[0])


def name_included_sources(app: Sphinx, path: Path, parent: str, content: list[str]) -> None:
    """The same for a page that is a file of the source's root."""
    content[0] = re.sub(r"\]\((?!https?:|#|\.\./)", "](../", content[0])
    name_sources(app, "page", content)


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", describe_arguments)
    app.connect("source-read", name_sources)
    app.connect("include-read", name_included_sources)
