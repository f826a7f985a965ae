"""What has more than one implementation: every test of it runs on each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from aiotun.native import native
from aiotun.offload.checksum import checksum
from aiotun.offload.coalesce import GROTable
from aiotun.offload.segment import gso_split
from aiotun.packetio import Counters
from aiotun.transports import fastpath as port
from aiotun.udp.messages import batches

__all__ = ["IMPLEMENTATIONS", "Implementation", "offload_impl"]


class Implementation(NamedTuple):
    checksum: Callable[..., int]
    gso_split: Callable[..., list[bytes]]
    GROTable: Callable[..., Any]
    Port: Callable[[Any, list[Any], int, int], Any]
    batches: Callable[[list[bytes]], list[list[bytes]]]


def _native_port(transport: Any, tick: list[Any], size_max: int, limit: int) -> Any:
    """Of a device that is not there: for what does not come to reading or writing it."""
    table, counters = native.GROTable(), Counters()
    return native.Port(transport, tick, size_max, limit, 9, -1, "tun", True, table, [], counters)


IMPLEMENTATIONS = {"python": Implementation(checksum, gso_split, GROTable, port.Port, batches)}
if native is not None:
    IMPLEMENTATIONS["native"] = Implementation(
        native.checksum, native.gso_split, native.GROTable, _native_port, native.batches
    )


@pytest.fixture(params=IMPLEMENTATIONS, scope="session")
def offload_impl(request: pytest.FixtureRequest) -> Implementation:
    return IMPLEMENTATIONS[request.param]
