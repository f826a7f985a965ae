"""The native module, or None: not built, or not wanted (AIOTUN_PURE=1).

`_native.pyi` types it; `src` has its C. What is in it has a Python twin elsewhere in
the package, which specifies it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

__all__ = ["Counts", "native"]

try:
    if os.environ.get("AIOTUN_PURE") == "1":
        raise ImportError("the Python implementation was asked for")
    from . import _native as native
except ImportError:
    native = None  # type: ignore[assignment]

if TYPE_CHECKING or native is None:

    class Counts:
        """What `Counters` is made of, where C counts as well."""
else:
    from ._native import Counts
