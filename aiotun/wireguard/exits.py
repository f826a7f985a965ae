"""An exit for peers that takes no privileges: their connections are made again by this program."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiotun

from ..config import DeviceConfig
from ..flows import open_rootless, start_flow_server
from ..flows.onward import connect, pass_connection, pass_conversation
from ..platforms.memory import open_pair

__all__ = ["flows_exit"]

CAPACITY = 500
"""Frames between the interface and the flows, after which one of them has to wait."""


@asynccontextmanager
async def flows_exit(mtu: int) -> AsyncIterator[aiotun.Device]:
    """The device for an interface whose peers reach the Internet through flows.

    It is in memory. What peers send out of it, TCP and UDP, goes on from sockets of this
    process; pings are answered here, whoever they are for. Raises what `open_rootless` raises.
    """
    rootless = await open_rootless(mtu=mtu)
    pair = open_pair(DeviceConfig(mtu=mtu), capacity=CAPACITY, push_back=True)
    near, far = (aiotun.Device.from_parts(*parts) for parts in pair)
    async with start_flow_server(
        pass_connection,
        datagrams=pass_conversation,
        accept=connect,
        echo=True,
        device=rootless.device,
        listeners=rootless.listeners,
        clients=far,
    ):
        yield near
