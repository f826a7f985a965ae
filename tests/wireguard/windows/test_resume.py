"""An interface whose machine wakes up. Who tells of it is a MODEL of powrprof.dll."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import socket
import time
from ipaddress import ip_network

import pytest
from rigs import until
from standin import StandIn

from aiotun.testing import memory_devices
from aiotun.wireguard import WireGuard, endpoint
from aiotun.wireguard.config import InterfaceConfig, PeerConfig
from aiotun.wireguard.keys import generate_private_key, public_key_of

RESUME = 18
"""PBT_APMRESUMEAUTOMATIC (winuser.h)"""


async def test_handshakes_begin_anew(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    slept = 0.0
    monkeypatch.setattr(endpoint, "clock", lambda: time.monotonic() + slept)
    # Under wine the proactor passes nothing from a mapped address to one (WinError 10022).
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    keys = [generate_private_key() for _ in range(2)]

    def config(own: int, port: int | None = None) -> InterfaceConfig:
        peer = PeerConfig(
            public_key_of(keys[1 - own]),
            endpoint=None if port is None else ("127.0.0.1", port),
            allowed_ips=(ip_network("10.9.0.0/24"),),
        )
        return InterfaceConfig(keys[own], peers=(peer,))

    (near, near_host), (far, far_host) = memory_devices(), memory_devices()
    with near_host, far_host:
        async with (
            WireGuard(config(1), device=far) as b,
            WireGuard(config(0, b.listen_port), device=near) as a,
        ):
            a.tunnel.peers[public_key_of(keys[1])].keepalive(endpoint.clock())
            a._pass_on()
            await until(lambda: a.tunnel.handshakes == b.tunnel.handshakes == 1)
            slept = 60.0
            standin.call("Power", RESUME)
            await until(lambda: a.tunnel.handshakes == b.tunnel.handshakes == 2)
        standin.call("Power", RESUME)  # nobody listens any more
