"""What help() says of each public name, natively too."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import aiotun
import aiotun.aead.python as aead_in_python
from aiotun import aead, offload
from aiotun.aead.replay import ReplayWindow
from aiotun.offload.checksum import checksum
from aiotun.offload.coalesce import GROTable
from aiotun.offload.segment import gso_split
from aiotun.transports import fastpath

STUB = Path(aiotun.__file__).parent / "native" / "_aead.pyi"


@pytest.mark.parametrize("module", [aiotun, aead, offload])
def test_each_public_name_has_a_docstring(module: ModuleType) -> None:
    """Of its own: no class's is inherited, or made by `dataclass`."""
    described = {
        name: vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
        for name, value in ((name, getattr(module, name)) for name in module.__all__)
        if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)
    }
    assert len(described) >= 3
    assert [name for name, doc in described.items() if not doc or doc.startswith(f"{name}(")] == []


def summary(docstring: str | None) -> str:
    return (docstring or "").partition("\n")[0]


@pytest.mark.skipif(offload.implementation == "python", reason="nothing is native")
def test_native_functions_are_described_as_their_twins() -> None:
    pairs = [
        (offload.checksum, checksum),
        (offload.gso_split, gso_split),
        (offload.GROTable, GROTable),
        (offload.GROTable.coalesce, GROTable.coalesce),
    ]
    for native, twin in pairs:
        assert summary(native.__doc__) == summary(twin.__doc__)


@pytest.mark.skipif(aead.implementation == "python", reason="nothing is native")
def test_native_keys_are_described_as_in_their_stub() -> None:
    for group in ast.parse(STUB.read_text()).body:
        if isinstance(group, ast.ClassDef) and group.name != "ReplayWindow":
            native = getattr(aead, group.name)
            assert native.__doc__ == summary(ast.get_docstring(group))
            for node in group.body:
                if isinstance(node, ast.FunctionDef) and node.name != "__init__":
                    method = getattr(native, node.name)
                    assert method.__doc__ == summary(ast.get_docstring(node))
    assert summary(aead.ReplayWindow.__doc__) == summary(ReplayWindow.__doc__)
    assert summary(aead.ReplayWindow.accept.__doc__) == summary(ReplayWindow.accept.__doc__)


PAIRS: list[tuple[Any, Any]] = [
    (offload.checksum, checksum),
    (offload.gso_split, gso_split),
    (offload.GROTable, GROTable),
    (aead.Sealer, aead_in_python.Sealer),
    (aead.Opener, aead_in_python.Opener),
    (aead.ReplayWindow, ReplayWindow),
]


def signature(function: Any, skipped: int = 0) -> list[tuple[str, Any, Any]]:
    parameters = [*inspect.signature(function).parameters.values()][skipped:]
    return [(each.name, each.kind, each.default) for each in parameters]


@pytest.mark.skipif(
    "python" in (aead.implementation, offload.implementation), reason="not all is native"
)
@pytest.mark.parametrize(("native", "twin"), PAIRS, ids=[twin.__name__ for _, twin in PAIRS])
def test_native_signatures_are_the_twins(native: Any, twin: Any) -> None:
    """Of a class those of its public methods, too."""
    assert signature(native) == signature(twin)
    if inspect.isclass(twin):
        for name, method in inspect.getmembers(twin, inspect.isfunction):
            if not name.startswith("_"):
                assert signature(getattr(native, name), 1) == signature(method, 1)


@pytest.mark.skipif(offload.implementation == "python", reason="nothing is native")
@pytest.mark.parametrize("name", ["write", "write_super"])
def test_what_a_transport_has_of_its_port_is_described(name: str) -> None:
    native, twin = getattr(fastpath.NativePort, name), getattr(fastpath.Port, name)
    assert signature(native, 1) == signature(twin, 1)
    assert native.__doc__ == twin.__doc__
