"""An interface of WireGuard that is asked and changed, with no device around it."""

from __future__ import annotations

import errno
from typing import Any

from aiotun.wireguard.config import PeerConfig
from aiotun.wireguard.core.tunnel import Tunnel

__all__ = ["ALICE", "BOB", "FULL", "KEY", "OK", "SECRET", "Fake"]

KEY, ALICE, BOB, SECRET = (bytes([n]) * 32 for n in (8, 1, 2, 3))

OK = "errno=0\n\n"

FULL = (
    "set=1",
    f"private_key={KEY.hex()}",
    "listen_port=51999",
    "fwmark=51966",
    "replace_peers=true",
    f"public_key={ALICE.hex()}",
    "protocol_version=1",
    f"preshared_key={SECRET.hex()}",
    "endpoint=192.0.2.1:51820",
    "persistent_keepalive_interval=25",
    "replace_allowed_ips=true",
    "allowed_ip=10.0.0.1/32",
    "allowed_ip=fd00::/64",
    f"public_key={BOB.hex()}",
    "endpoint=[2001:db8::1]:7",
    "allowed_ip=10.1.0.0/16",
)


class Fake:
    """A real tunnel, and nothing around it."""

    def __init__(self, private_key: bytes = KEY) -> None:
        self.tunnel = Tunnel(private_key)
        self.listen_port = 51820
        self.fwmark = 0
        self.calls: list[tuple[Any, ...]] = []

    def set_peer(self, config: PeerConfig) -> None:
        self.calls.append(("set_peer", config))
        self.tunnel.set_peer(config, 0.0, config.endpoint)

    def remove_peer(self, public_key: bytes) -> None:
        self.calls.append(("remove_peer", public_key))
        self.tunnel.remove_peer(public_key)

    def set_private_key(self, private_key: bytes) -> None:
        self.calls.append(("set_private_key", private_key))
        self.tunnel.set_private_key(private_key)

    async def set_listen_port(self, port: int) -> None:
        self.calls.append(("set_listen_port", port))
        if port == 80:
            raise PermissionError(errno.EACCES, "not for you")
        self.listen_port = port

    async def set_fwmark(self, mark: int) -> None:
        self.calls.append(("set_fwmark", mark))
        self.fwmark = mark
