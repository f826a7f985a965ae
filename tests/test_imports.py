"""The modules of the package import each other in one direction."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in ROOT.glob("aiotun/**/*.py")}


def executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All below it but what stands under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from itertools.chain.from_iterable(map(executed, node.orelse))
        else:
            yield node
            yield from executed(node)


def imported(name: str, path: Path) -> Iterator[str]:
    """The package's modules that a module imports, at its head or in functions.

    What only type checkers import may go both ways: a protocol and its transport name
    each other.
    """
    package = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
    for node in executed(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *(node.module or "").split(".")]).rstrip(".")
            for alias in node.names:
                for found in (f"{source}.{alias.name}", source):
                    if found in MODULES and found != name:  # a package's own C
                        yield found
                        break


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: set(imported(name, path)) for name, path in MODULES.items()}
    assert graph["aiotun.device"] >= {"aiotun.config", "aiotun.platforms.base"}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def bound(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """What the package's imports from its modules bind, in order, and whether to a module.

    `from .checksum import partial_sum` binds `checksum` as well, to a type checker.
    """
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            yield node.module.partition(".")[0], True
            yield from ((alias.asname or alias.name, False) for alias in node.names)


@pytest.mark.parametrize("name", [n for n, path in MODULES.items() if path.stem == "__init__"])
def test_no_module_takes_the_place_of_what_is_imported(name: str) -> None:
    found = list(bound(ast.parse(MODULES[name].read_text("utf-8"))))
    imported_names = {each for each, is_module in found if not is_module}
    assert not {each for each, is_module in dict(found).items() if is_module} & imported_names
