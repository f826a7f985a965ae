"""How Sphinx makes the site of these pages: make docs."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ["AIOTUN_PURE"] = "1"  # the classes that have docstrings, not their native twins

import aiotun  # noqa: E402

project = "aiotun"
author = "aiotun maintainers"
version = release = aiotun.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"aiotun {release}"
html_show_copyright = False
exclude_patterns = ["_build"]
pygments_style = "friendly"

myst_heading_anchors = 3
default_role = "code"  # docstrings have Markdown's `code`

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = True
autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True}


def stub_docstrings(path: Path) -> dict[str, list[str]]:
    """The docstrings of a stub's classes and methods, by their names: native ones stand there."""
    found = {}
    for group in ast.parse(path.read_text()).body:
        if isinstance(group, ast.ClassDef):
            for node in (group, *group.body):
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    name = group.name if node is group else f"{group.name}.{node.name}"
                    found[name] = (ast.get_docstring(node) or "").splitlines()
    return found


STUB = stub_docstrings(ROOT / "aiotun" / "native" / "_aead.pyi")
ARGUMENT = re.compile(r"(\w+): ")
LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)(#[^)]*)?\)")


def describe_arguments(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Make a list of definitions of the lines `name: what it is`, as docstrings here have them."""
    if name.startswith("aiotun.aead.") and (lines or ["See "])[0].startswith("See "):
        lines[:] = STUB.get(name.removeprefix("aiotun.aead."), lines)
    if what == "data" and lines[:1] == (inspect.getdoc(type(obj)) or "").splitlines()[:1]:
        lines.clear()  # a value has the docstring of its type: the page says what it is
    if name == "aiotun.errors":  # a tree
        lines.insert(lines.index("    OSError"), "::")
        lines.insert(lines.index("::") + 1, "")
    try:
        parameters = inspect.signature(obj).parameters
    except (TypeError, ValueError):
        return  # nothing that is called
    described = []
    for line in lines:
        argument = ARGUMENT.match(line)
        if argument and argument[1] in parameters:
            described += [f"`{argument[1]}`", f"    {line[argument.end() :]}"]
        else:
            described.append(line)
    lines[:] = described


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


def find_missing(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of each name that the reference promises (docs/explanation/versions.md) and lacks."""
    objects: Any = env.get_domain("py").objects  # type: ignore[attr-defined]
    known = {name.rpartition(".")[2] for name in objects}
    modules = [name for name, entry in objects.items() if entry.objtype == "module"]
    for module in [aiotun, *map(importlib.import_module, modules)]:
        for name in module.__all__:
            if name not in known and name != "__version__":
                logging.getLogger(__name__).warning("no page has %s.%s", module.__name__, name)


def setup(app: Sphinx) -> None:
    app.connect("env-check-consistency", find_missing)
    app.connect("autodoc-process-docstring", describe_arguments)
    app.connect("source-read", name_sources)
    app.connect("include-read", name_included_sources)
