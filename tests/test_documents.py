"""What the documentation names is there."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import aiotun
from aiotun.options import GROUPS
from aiotun.testing import memory_devices

ROOT = Path(__file__).parents[1]

TABLE = (ROOT / "docs" / "tun-rs.md").read_text()

ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if line.startswith("| ")
]


def test_every_row_says_something() -> None:
    assert len(ROWS) > 60
    assert [row for row in ROWS if len(row) != 2 or not all(row)] == []


def test_what_the_table_names_is_there() -> None:
    device, far = memory_devices()
    with device, far:
        for subject, owner in {
            "aiotun": aiotun,
            "device": device,
            "stream": aiotun.PacketStream,
            "transport": aiotun.PacketTransport,
        }.items():
            named = set(re.findall(rf"\b{subject}\.(\w+)", TABLE))
            assert named
            assert named - set(dir(owner)) == set()


def test_keywords_of_the_builder_are_fields() -> None:
    builder = TABLE.split("## Builder")[1].split("## ")[0]
    named = set(re.findall(r"\b(\w+)=", builder))
    kinds: list[type[Any]] = [aiotun.DeviceConfig, *GROUPS.values()]
    fields = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    assert named - fields == {"config", "framing"}
    assert fields - named == set()


def test_architecture_names_every_module() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text().partition("| place |")[2].partition("## ")[0]
    places = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {Path(name).name for place in places for name in re.findall(r"`([^`]+)`", place)}
    package = ROOT / "aiotun"
    modules = {path.name for path in package.iterdir() if path.suffix == ".py"}
    packages = {path.parent.name for path in package.glob("*/__init__.py")}
    assert (modules | packages) - named == {"__init__.py", "__main__.py"}


def test_architecture_names_no_file_that_is_gone() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`([\w/]+\.(?:pyi?|h|c))`", text))
    assert len(named) > 30
    there = {path.as_posix() for path in (ROOT / "aiotun").rglob("*")}
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in there)] == []
