"""python -m benchmarks.limited_api: what the native module would lose to Python's limited API.

Builds it twice, as it is and with functions of the limited API in place of the macros that look
into CPython's own structs, and lets both do the same in turn, in processes of their own. The
shortest time of each counts: what else runs only adds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import sysconfig
import tempfile
import timeit
from pathlib import Path
from types import ModuleType

from .micro import super_packet, tcp_packet
from .programs import ROOT

__all__ = ["main"]

FUNCTIONS = {
    "PyBytes_AS_STRING": "PyBytes_AsString",
    "PyBytes_GET_SIZE": "PyBytes_Size",
    "PyList_GET_ITEM": "PyList_GetItem",
    "PyList_GET_SIZE": "PyList_Size",
    "PyTuple_GET_SIZE": "PyTuple_Size",
    "PyUnicode_GET_LENGTH": "PyUnicode_GetLength",
    "Py_INCREF": "Py_IncRef",
    "Py_DECREF": "Py_DecRef",
}
"""What stands in for each macro. Tuples, whose items the C takes as an array, stay as they are."""

SIZES = (64, 256, 1500)

ROUNDS = 15
SECONDS = 0.02
"""That one function is called for in each round, at least."""


def build(folder: Path, functions: dict[str, str]) -> Path:
    """Raises `CalledProcessError`."""
    header = folder / "replaced.h"
    lines = [
        f"#undef {macro}\n#define {macro}(o, ...) {functions[macro]}((PyObject *)(o), "
        "##__VA_ARGS__)"
        for macro in functions
    ]
    header.write_text("\n".join(["#include <Python.h>", *lines, ""]))
    target = folder / "_native.so"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()
    flags = ["-std=gnu11", "-O3", "-DNDEBUG", "-fPIC", "-shared", "-DAIOTUN_SOURCES=0"]
    include = ["-I", sysconfig.get_paths()["include"], "-include", str(header)]
    source = ROOT / "aiotun" / "native" / "src" / "module.c"
    subprocess.run([*compiler, *flags, *include, str(source), "-o", str(target)], check=True)
    return target


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("_native", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def timings(native: ModuleType) -> dict[str, float]:
    """Nanoseconds of each packet or datagram."""
    found = {}
    for size in SIZES:
        packets = [tcp_packet(0, number, bytes(size - 40)) for number in range(64)]
        frame, table = super_packet(size), native.GROTable()
        count = len(native.gso_split(frame))
        datagrams = [bytes(size)] * 256
        for name, number, call in (
            ("split", count, lambda frame=frame: native.gso_split(frame)),
            ("coalesce", 64, lambda table=table, packets=packets: table.coalesce(packets)),
            ("batches", 256, lambda datagrams=datagrams: native.batches(datagrams)),
        ):
            timer = timeit.Timer(call)
            calls = max(1, int(SECONDS / timer.timeit(1)))
            found[f"{name} {size}"] = timer.timeit(calls) / calls / number * 1e9
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limited_api", description=__doc__)
    parser.add_argument("module", type=Path, nargs="?", help="a built one to time alone, as JSON")
    args = parser.parse_args()
    if args.module:
        print(json.dumps(timings(load(args.module))))
        return
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        modules = build(Path(first), {}), build(Path(second), FUNCTIONS)
        rounds: list[list[dict[str, float]]] = [[], []]
        for _ in range(ROUNDS):
            for module, found in zip(modules, rounds, strict=True):
                command = [sys.executable, "-m", "benchmarks.limited_api", str(module)]
                found.append(json.loads(subprocess.check_output(command, cwd=ROOT)))
    print("| of bytes | ns a packet | with functions | ratio |\n|---|---:|---:|---:|")
    for name in rounds[0][0]:
        macros, functions = (min(each[name] for each in found) for found in rounds)
        print(f"| {name} | {macros:.1f} | {functions:.1f} | {functions / macros:.2f} |")


if __name__ == "__main__":
    main()
