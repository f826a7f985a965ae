"""Whether a native module was built from the C that stands beside it.

A module that remains from older sources agrees no more with the Python around it, and loses packets
without an error. So the build gives it the checksum of its sources, which is compared at import.
"""

from __future__ import annotations

import os
from binascii import crc32
from types import ModuleType

__all__ = ["SOURCES", "check", "checksum"]

SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "src")


def checksum(source: str) -> int:
    """31 bits, what C's long holds on each system, of a C file and of all headers."""
    headers = (
        os.path.join(folder, name)
        for folder, _, names in os.walk(SOURCES)
        for name in names
        if name.endswith(".h")
    )
    checksum = 0
    # In an order that is the same on Windows: what is built elsewhere is looked at there.
    for path in [
        os.path.join(SOURCES, source),
        *sorted(headers, key=lambda path: path.split(os.sep)),
    ]:
        with open(path, "rb") as file:
            checksum = crc32(file.read(), checksum)
    return checksum & 0x7FFFFFFF


def check(module: ModuleType, source: str) -> None:
    """Raise ImportError if it was built from other sources. Without sources nothing is compared."""
    there = os.path.exists(os.path.join(SOURCES, source))
    if there and getattr(module, "SOURCES", None) != checksum(source):
        raise ImportError(
            f"{module.__file__} was built from other sources than those in {SOURCES}: build it "
            "anew (pip install --force-reinstall, or make demo in a checkout), or remove it",
            name=module.__name__,
            path=module.__file__,
        )
