"""Mutants that the tests do not notice: some are drawn, and each meets the tests of its line.

    python -m pip install cosmic-ray
    nice python -m tools.mutants --draw 400 --seed 1 offload transports

cosmic-ray makes them, parso's trees keep the rest of a file as it stands. They are drawn at random,
for each part as many as it has lines. Neither an annotation nor what type checkers alone read is
mutated, since nothing runs it. Python stands for C (AIOTUN_PURE=1): it is the specification.

Which tests reach a line is measured once a part, by coverage; the quickest of them run first. For a
line that is run at import, or by another process, all tests of its part do. The mutants stand in
copies of the tree, one for each job. What lives on is printed as a diff, and at the end a table.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import os
import pickle
import random
import resource
import shutil
import sys
import tempfile
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import coverage
import pytest

__all__ = ["PARTS", "Mutant", "Part", "draw", "main", "mutants_of"]

TREE = Path(__file__).parent.parent
PACKAGE = TREE / "aiotun"
TIMEOUT = 20
"""Seconds for a test that meets a mutant: what takes longer hangs, and is noticed."""
CPU_MAX = 120
"""Seconds of a processor for all of its tests."""
PLUGINS = ("hypothesis", "pytest_asyncio.plugin", "pytest_timeout")
"""What pytest loads each time, unless it is there, which it says."""
QUIETLY = ("-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")


@dataclass(frozen=True)
class Part:
    sources: tuple[str, ...]
    """Folders and modules, relative to the tree."""
    tests: tuple[str, ...]

    def files(self) -> list[str]:
        return [
            str(path.relative_to(TREE))
            for source in self.sources
            for path in (sorted((TREE / source).glob("*.py")) or [TREE / source])
        ]


PARTS = {
    "offload": Part(("aiotun/offload",), ("tests/offload",)),
    "transports": Part(("aiotun/transports",), ("tests/transports",)),
    "relay": Part(
        tuple(f"aiotun/{name}.py" for name in ("relay", "lease", "line", "streams")),
        tuple(
            f"tests/{name}.py"
            for name in ("test_relay", "test_line", "test_streams", "framed/test_relay")
        ),
    ),
    "framed": Part(("aiotun/framed",), ("tests/framed",)),
    "wireguard/core": Part(("aiotun/wireguard/core",), ("tests/wireguard/core",)),
}


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int
    operator: str
    occurrence: int
    """Of what the operator mutates in the file: which one this is, from 0 on."""

    def code(self) -> str | None:
        """The whole file, mutated; None if that is no Python: operators know tokens, not rules."""
        plugins, mutating = _cosmic_ray("plugins"), _cosmic_ray("mutating")
        operator = plugins.get_operator(self.operator)()
        try:
            code: str = mutating.mutate_code(
                (TREE / self.file).read_text(), operator, self.occurrence
            )
            compile(code, self.file, "exec")
        except (AttributeError, SyntaxError, TypeError):
            return None
        return code

    def diff(self, code: str) -> str:
        before = (TREE / self.file).read_text().splitlines()
        changes = difflib.unified_diff(before, code.splitlines(), lineterm="", n=1)
        return "\n".join(list(changes)[2:])


def _cosmic_ray(name: str) -> Any:
    return importlib.import_module(f"cosmic_ray.{name}")


def mutants_of(file: str) -> Iterator[Mutant]:
    """All mutants of what something runs in a file, by those operators that need no arguments."""
    plugins, tree = _cosmic_ray("plugins"), _cosmic_ray("ast")
    source = (TREE / file).read_text()
    nodes = list(tree.ast_nodes(tree.get_ast(source)))
    idle = _never_run(ast.parse(source))
    for name in sorted(plugins.operator_names()):
        operator_class = plugins.get_operator(name)
        if operator_class.arguments():
            continue
        operator = operator_class()
        positions = (position for node in nodes for position in operator.mutation_positions(node))
        for occurrence, (start, _) in enumerate(positions):
            bare_star = source.splitlines()[start[0] - 1][start[1] :].startswith("*,")
            if not bare_star and not any(first <= start < last for first, last in idle):
                yield Mutant(file, start[0], name, occurrence)


def draw(mutants: Iterable[Mutant], generator: random.Random) -> Iterator[Mutant]:
    """All of them in an order by chance, in which each line comes once before any comes again."""
    drawn: list[tuple[int, float, Mutant]] = []
    seen: Counter[tuple[str, int]] = Counter()
    for mutant in sorted(mutants, key=lambda mutant: generator.random()):
        drawn.append((seen[mutant.file, mutant.line], generator.random(), mutant))
        seen[mutant.file, mutant.line] += 1
    return (mutant for *_, mutant in sorted(drawn, key=lambda entry: entry[:2]))


def _never_run(module: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations, overloads, "@abstractmethod" and what is below TYPE_CHECKING stand."""
    idle: list[ast.expr | ast.stmt | None] = []
    for node in ast.walk(module):
        if isinstance(node, ast.AnnAssign | ast.arg):
            idle.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = {ast.unparse(decorator): decorator for decorator in node.decorator_list}
            idle += [node.returns, decorators.get("abstractmethod")]
            if "overload" in decorators:
                idle += [decorators["overload"], node]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            idle += [node.test, *node.body]
    return [
        (
            (node.lineno, max(node.col_offset - 1, 0)),
            (node.end_lineno or 0, node.end_col_offset or 0),
        )
        for node in idle
        if node is not None
    ]


class Contexts:
    """A plugin of pytest: tells coverage which test runs, and notes how long it took."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self.measured = measured
        self.seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.measured.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration


Reach = tuple[dict[tuple[str, int], list[str]], list[str]]
"""Which tests run a line, and all that there are: the quickest first."""


def reach(part: Part, result: Path) -> None:
    """Run the tests of a part, in a process that runs no others, and write what they reach."""
    measured = coverage.Coverage(data_file=None, config_file=False, include=[f"{PACKAGE}/*"])
    contexts = Contexts(measured)
    measured.start()
    failed = pytest.main([*QUIETLY, *part.tests], plugins=[contexts])
    measured.stop()
    if failed:
        raise SystemExit("Tests fail without any mutant, too.")
    seconds = contexts.seconds
    lines = {}
    for file in part.files():
        of_file = measured.get_data().contexts_by_lineno(str(TREE / file))
        for line, tests in of_file.items():
            lines[file, line] = sorted(filter(None, tests), key=seconds.__getitem__)
    result.write_bytes(pickle.dumps((lines, sorted(seconds, key=seconds.__getitem__))))


def forked(function: Callable[[], object]) -> int:
    """The process that calls it, ends with what it returns, and spares what is imported here."""
    pid = os.fork()
    if pid == 0:
        status: object = 1
        try:
            status = function()
        except BaseException:
            traceback.print_exc()
        os._exit(bool(status))
    return pid


def meet(mutant: Mutant, code: str, tests: list[str], copy: Path) -> bool:
    """Whether a test fails with the mutant, or has no end."""
    (copy / mutant.file).write_text(code)
    (copy / "chosen.txt").write_text("\n".join(tests))
    os.chdir(copy)
    sys.path[0] = str(copy)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_MAX, CPU_MAX))
    silence = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(silence, descriptor)
    return pytest.main([*QUIETLY, "-x", "-o", f"timeout={TIMEOUT}", "@chosen.txt"]) != 0


def survivors(drawn: list[tuple[Mutant, str]], reached: Reach, copies: list[Path]) -> int:
    """Let each meet its tests, as many at a time as there are copies; say which live on."""
    lines, everything = reached
    waiting, free = list(reversed(drawn)), list(copies)
    running: dict[int, tuple[Mutant, str, Path]] = {}
    living = 0
    while waiting or running:
        while waiting and free:
            (mutant, code), copy = waiting.pop(), free.pop()
            tests = lines.get((mutant.file, mutant.line)) or everything
            running[forked(partial(meet, mutant, code, tests, copy))] = mutant, code, copy
        pid, status = os.wait()
        mutant, code, copy = running.pop(pid)
        shutil.copy(TREE / mutant.file, copy / mutant.file)
        free.append(copy)
        living += not status
        print(
            f"killed: {mutant}" if status else f"LIVES: {mutant}\n{mutant.diff(code)}", flush=True
        )
    return living


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}: else all")
    parser.add_argument("--draw", type=int, default=100, help="how many mutants of all parts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    chosen = parser.parse_args(arguments)
    parts = {name: PARTS[name] for name in chosen.parts or PARTS}

    os.chdir(TREE)
    os.environ["AIOTUN_PURE"] = "1"
    for plugin in PLUGINS:
        importlib.import_module(plugin)
    generator = random.Random(chosen.seed)
    sizes = {
        name: sum(len((TREE / file).read_text().splitlines()) for file in part.files())
        for name, part in parts.items()
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder, str(job)) for job in range(chosen.jobs)]
        for copy in copies:
            shutil.copytree(TREE, copy, ignore=shutil.ignore_patterns(".*", "build", "*.so"))
        for name, part in parts.items():
            every = [mutant for file in part.files() for mutant in mutants_of(file)]
            share = round(chosen.draw * sizes[name] / sum(sizes.values()))
            valid = ((mutant, code) for mutant in draw(every, generator) if (code := mutant.code()))
            drawn = list(islice(valid, share))
            measured = Path(folder, "reach")
            os.waitpid(forked(partial(reach, part, measured)), 0)
            living = survivors(drawn, pickle.loads(measured.read_bytes()), copies)
            rows.append(f"| `{name}` | {len(every)} | {len(drawn)} | {living} |")
    print("\n| of | mutants | run | live |\n|---|---|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    main()
