"""An exit for peers that takes no privileges: their connections are made again by this program."""

from __future__ import annotations

import sys

assert sys.platform == "linux"  # whose user namespaces it takes

from collections.abc import AsyncIterator, Awaitable, Collection
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import NamedTuple

import aiotun

from ..config import DeviceConfig
from ..flows import Decision, Flow, FlowServer, open_rootless, start_flow_server
from ..flows.guard import Guard
from ..flows.onward import connect, pass_connection, pass_conversation
from ..platforms.memory import open_pair

__all__ = ["Exit", "flows_exit"]

CAPACITY = 500
"""Frames between the interface and the flows, after which one of them has to wait."""


class Exit(NamedTuple):
    device: aiotun.Device
    """For an interface whose peers reach the Internet through flows. It is in memory."""
    flows: FlowServer


@asynccontextmanager
async def flows_exit(mtu: int, allowed: Collection[tuple[str, int]]) -> AsyncIterator[Exit]:
    """What peers send out of its device, TCP and UDP, goes on from sockets of this process.

    To the host itself nothing goes (see `Guard`), but for the `allowed` addresses and ports, and
    nothing to the networks of the device's addresses, which no route of the host is about. Pings
    are answered here, whoever they are for. Raises what `open_rootless` raises.
    """
    with Guard(allowed) as guard:
        rootless = await open_rootless(mtu=mtu)
        pair = open_pair(DeviceConfig(mtu=mtu), capacity=CAPACITY, push_back=True)
        near, far = (aiotun.Device.from_parts(*parts) for parts in pair)

        def accept(flow: Flow) -> Decision | Awaitable[Decision]:
            ip = ip_address(flow.destination.host)
            inside = any(ip in each.interface.network for each in near.addresses())
            return Decision.FORBID if inside or guard.forbids(flow) else connect(flow)

        async with start_flow_server(
            pass_connection,
            datagrams=pass_conversation,
            accept=accept,
            echo=True,
            device=rootless.device,
            listeners=rootless.listeners,
            clients=far,
        ) as flows:
            yield Exit(near, flows)
