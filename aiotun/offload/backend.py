"""The implementation in use of what has more than one."""

from __future__ import annotations

from typing import Literal

from .checksum import checksum
from .coalesce import GROTable
from .segment import gso_split

__all__ = ["GROTable", "checksum", "gso_split", "implementation"]

implementation: Literal["native", "python"] = "python"
