"""What has more than one implementation: every test of it runs on each."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from aiotun.offload.checksum import checksum
from aiotun.offload.coalesce import GROTable
from aiotun.offload.segment import gso_split

__all__ = ["IMPLEMENTATIONS", "Implementation"]


class Implementation(NamedTuple):
    checksum: Callable[..., int]
    gso_split: Callable[..., list[bytes]]
    GROTable: type[GROTable]


IMPLEMENTATIONS = {"python": Implementation(checksum, gso_split, GROTable)}
