"""The implementation in use: the native functions where they are built, else Python's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..native import native
from .checksum import checksum
from .coalesce import GROTable
from .segment import gso_split

__all__ = ["GROTable", "checksum", "gso_split", "implementation"]

if not TYPE_CHECKING and native is not None:
    from ..native._native import GROTable, checksum, gso_split

implementation: Literal["native", "python"] = "python" if native is None else "native"
