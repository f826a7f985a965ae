"""The implementation in use of what has more than one.

It is native if that was built, unless the environment variable AIOTUN_PURE is 1.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

__all__ = ["Counts", "GROTable", "checksum", "gso_split", "implementation", "native"]

try:
    if os.environ.get("AIOTUN_PURE") == "1":
        raise ImportError("the Python implementation was asked for")
    from . import _native as native
except ImportError:
    native = None  # type: ignore[assignment]

if TYPE_CHECKING or native is None:
    from .checksum import checksum
    from .coalesce import GROTable
    from .segment import gso_split

    class Counts:
        """What `Counters` is made of, where C counts as well."""
else:
    from ._native import Counts, GROTable, checksum, gso_split

implementation: Literal["native", "python"] = "python" if native is None else "native"
