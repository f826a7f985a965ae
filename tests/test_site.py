"""The site: its reference has every public name."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

MODULES = (
    "aiotun",
    "aiotun.aead",
    "aiotun.capturing",
    "aiotun.codecs",
    "aiotun.errors",
    "aiotun.flows",
    "aiotun.flows.onward",
    "aiotun.framed",
    "aiotun.handover",
    "aiotun.interfaces",
    "aiotun.metrics",
    "aiotun.offload",
    "aiotun.testing",
    "aiotun.typing",
    "aiotun.udp",
    "aiotun.wireguard",
)

LINUX = "aiotun.flows.guard"
"""What the reference has and no other system imports."""

DIRECTIVE = re.compile(r"^\.\. auto(class|function|data|module):: ([\w.]+)\n((?: .*\n)*)", re.M)


def referenced() -> set[int]:
    """The identities of all that the reference names, and of what its modules list."""
    found: set[int] = set()
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        for kind, name, options in DIRECTIVE.findall(page.read_text()):
            if name == LINUX and sys.platform != "linux":
                continue
            if kind == "module":
                module = importlib.import_module(name)
                excluded = set(re.findall(r"\w+", options.partition(":exclude-members:")[2]))
                found |= {
                    id(getattr(module, each)) for each in module.__all__ if each not in excluded
                }
            else:
                owner, _, attribute = name.rpartition(".")
                found.add(id(getattr(importlib.import_module(owner), attribute)))
    return found


@pytest.mark.parametrize("name", MODULES)
def test_the_reference_has_every_public_name(name: str) -> None:
    module = importlib.import_module(name)
    known = referenced()
    left_out = {
        each
        for each in module.__all__
        if not inspect.ismodule(getattr(module, each)) and id(getattr(module, each)) not in known
    }
    assert left_out == set()
