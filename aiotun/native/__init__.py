"""The native module, or None: not built, or not wanted (see `wanted`).

`_native.pyi` types it; `src` has its C. What is in it has a Python twin elsewhere in
the package, which specifies it.
"""

from __future__ import annotations

import logging
from dataclasses import astuple
from functools import cache
from typing import TYPE_CHECKING, Any

from .sources import check
from .wanted import check_wanted, unwanted

__all__ = [
    "Counted",
    "Counts",
    "ItemCounts",
    "Messages",
    "UdpCounts",
    "native",
    "tell_if_missing",
]

try:
    check_wanted()
    from . import _native as native
except ImportError:
    native = None  # type: ignore[assignment]
else:
    check(native, "module.c")

if TYPE_CHECKING or native is None:

    class Counts:
        """What `Counters` is made of, where C counts as well."""

    class UdpCounts:
        """What `UdpCounters` is made of."""

    class ItemCounts:
        """The same of `FramedCounters`."""

    class Messages:
        """What `MessageProtocol` is made of, where C looks at it as well."""
else:
    from ._native import Counts, ItemCounts, Messages, UdpCounts


class Counted:
    """A dataclass of counters whose fields C may hold: `copy` and `pickle` do not know these."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), astuple(self)  # type: ignore[call-overload]


@cache
def tell_if_missing() -> None:
    """Log, once in a process, what is slow without the native module and how to get it.

    A program that declined it knows already. The installation cannot tell: pip shows
    nothing of what a build that succeeds has to say.
    """
    if native is None and unwanted() is None:
        logging.getLogger("aiotun").warning(
            "aiotun was installed without its native module: Python splits, coalesces and "
            "checks packets in its place, many times slower (`aiotun doctor` says what to do)"
        )
