"""Whether a native module was built from the C that stands beside it.

A module that remains from older sources agrees no more with the Python around it, and loses packets
without an error. So the build gives it the checksum of its sources, which is compared at import.
"""

from __future__ import annotations

from binascii import crc32
from pathlib import Path
from types import ModuleType

__all__ = ["SOURCES", "check", "checksum"]

SOURCES = Path(__file__).with_name("src")


def checksum(source: str) -> int:
    """31 bits, what C's long holds on each system, of a C file and of all headers."""
    checksum = 0
    for path in sorted([SOURCES / source, *SOURCES.glob("*.h")]):
        checksum = crc32(path.read_bytes(), checksum)
    return checksum & 0x7FFFFFFF


def check(module: ModuleType, source: str) -> None:
    """Raise ImportError if it was built from other sources. Without sources nothing is compared."""
    if (SOURCES / source).exists() and getattr(module, "SOURCES", None) != checksum(source):
        raise ImportError(
            f"{module.__file__} was built from other sources than those in {SOURCES}: build it "
            "anew (pip install --force-reinstall, or make in a checkout), or remove it",
            name=module.__name__,
            path=module.__file__,
        )
