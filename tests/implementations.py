"""What has more than one implementation: every test of it runs on each."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from aiotun.offload.checksum import checksum
from aiotun.offload.coalesce import GROTable
from aiotun.offload.segment import gso_split

__all__ = ["Implementation", "offload_impl"]


class Implementation(NamedTuple):
    checksum: Callable[..., int]
    gso_split: Callable[..., list[bytes]]
    GROTable: type[GROTable]


IMPLEMENTATIONS = {"python": Implementation(checksum, gso_split, GROTable)}


@pytest.fixture(params=IMPLEMENTATIONS, scope="session")
def offload_impl(request: pytest.FixtureRequest) -> Implementation:
    return IMPLEMENTATIONS[request.param]
