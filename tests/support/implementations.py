"""What has more than one implementation: every test of it runs on each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from aiotun.native import native
from aiotun.offload.checksum import checksum
from aiotun.offload.coalesce import GROTable
from aiotun.offload.segment import gso_split
from aiotun.trains import batches

__all__ = ["IMPLEMENTATIONS", "Implementation", "offload_impl"]


class Implementation(NamedTuple):
    checksum: Callable[..., int]
    gso_split: Callable[..., list[bytes]]
    GROTable: Callable[..., Any]
    batches: Callable[[list[bytes]], list[list[bytes]]]


IMPLEMENTATIONS = {"python": Implementation(checksum, gso_split, GROTable, batches)}
if native is not None:
    IMPLEMENTATIONS["native"] = Implementation(
        native.checksum, native.gso_split, native.GROTable, native.batches
    )


@pytest.fixture(params=IMPLEMENTATIONS, scope="session")
def offload_impl(request: pytest.FixtureRequest) -> Implementation:
    return IMPLEMENTATIONS[request.param]
