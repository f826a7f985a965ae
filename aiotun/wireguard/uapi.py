"""How the `wg` tool talks to userspace WireGuard: text, see `uapi_socket` for the way it takes.

The protocol is described at www.wireguard.com/xplatform. A request is a line that says what
is wanted, lines of key=value, and an empty line; so is an answer, its last line an errno.
`counters=1` and `names=1` are ours: they ask for packets dropped, by reason, and for what peers
are called.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from .changes import Changeable, Changes, Control, PeerChange
from .core.allowed_ips import Network
from .values import format_endpoint, parse_endpoint, parse_network, quote

__all__ = [
    "PeerStatus",
    "Status",
    "answer",
    "decode_get",
    "decode_names",
    "decode_set",
    "encode_get",
    "encode_names",
]

logger = logging.getLogger("aiotun.wireguard")


async def answer(control: Control, request: str) -> str:
    """Do what a request, without its empty line, asks for; return the whole answer."""
    operation, _, body = request.partition("\n")
    lines = ""
    try:
        if operation == "set=1":
            await control.apply(decode_set(body))
        elif operation == "get=1":
            lines = encode_get(control.interface)
        elif operation == "counters=1":
            counters = dataclasses.asdict(control.interface.tunnel.counters)
            lines = "".join(f"{name}={count}\n" for name, count in counters.items())
        elif operation == "names=1":
            lines = encode_names(control.interface)
        else:
            raise ValueError(f"{quote(operation)} is no operation")
    except (OSError, ValueError) as exc:
        logger.warning("a request over the UAPI socket is refused: %s", exc)
        number = getattr(exc, "errno", None) or errno.EINVAL
        return f"errno={-number}\n\n"  # negative, as `wg` and wireguard-go have it
    return f"{lines}errno=0\n\n"


def decode_set(body: str) -> Changes:
    """The lines of a `set`, all of them checked. Raises `ValueError`."""
    changes = Changes()
    peer: PeerChange | None = None
    for line in body.split("\n"):
        if not line:
            continue
        key, _, value = line.partition("=")
        try:
            if key == "public_key":
                peer = PeerChange(_key(value))
                changes.peers.append(peer)
            elif peer is None:
                setattr(changes, key, SET_INTERFACE[key](value))
            elif key == "allowed_ip":
                network = parse_network(value.removeprefix("-"))
                peer.allowed_ips[network] = not value.startswith("-")
            elif key == "replace_allowed_ips":
                peer.replace_allowed_ips = _true(value)
                peer.allowed_ips.clear()  # wireguard-go takes away what came before it
            elif key == "protocol_version":
                if value != "1":
                    raise ValueError("version 1 is the only one")
            else:
                name, parse = SET_PEER[key]
                setattr(peer, name, parse(value))
        except KeyError:
            raise ValueError(f"{quote(key)} is not known here") from None
        except ValueError as exc:
            raise ValueError(f"{key}: {exc}") from None
    return changes


def encode_get(interface: Changeable) -> str:
    """The lines that say how an interface is."""
    tunnel = interface.tunnel
    lines = [f"listen_port={interface.listen_port}"]
    if any(tunnel.private_key):
        lines.insert(0, f"private_key={tunnel.private_key.hex()}")
    if interface.fwmark:
        lines.append(f"fwmark={interface.fwmark}")
    for public_key, peer in tunnel.peers.items():
        fraction, seconds = math.modf(peer.last_handshake or 0)
        lines += [f"public_key={public_key.hex()}", f"preshared_key={peer.preshared_key.hex()}"]
        lines.append("protocol_version=1")
        if peer.endpoint is not None:
            lines.append(f"endpoint={format_endpoint(peer.endpoint)}")
        lines += [
            f"last_handshake_time_sec={seconds:.0f}",
            f"last_handshake_time_nsec={int(fraction * 10**9)}",
            f"tx_bytes={peer.tx_bytes}",
            f"rx_bytes={peer.rx_bytes}",
            f"persistent_keepalive_interval={peer.persistent_keepalive}",
        ]
        lines += [f"allowed_ip={network}" for network in peer.allowed_ips]
    return "\n".join(lines) + "\n"


def encode_names(interface: Changeable) -> str:
    """A line for each peer that has a name: its key, and the name as JSON, which is ASCII."""
    return "".join(
        f"{public_key.hex()}={json.dumps(peer.name)}\n"
        for public_key, peer in interface.tunnel.peers.items()
        if peer.name
    )


def decode_names(text: str) -> dict[bytes, str]:
    """What `encode_names` wrote. Raises `ValueError`."""
    lines = (line.partition("=") for line in text.splitlines())
    try:
        return {_key(key): str(json.loads(name)) for key, _, name in lines}
    except RecursionError:
        raise ValueError("a name is too deeply nested") from None


@dataclass
class PeerStatus:
    """How a peer is, as told by whoever runs the interface."""

    public_key: bytes
    name: str = ""
    endpoint: str = ""
    """As text; empty: not known."""
    allowed_ips: list[Network] = dataclasses.field(default_factory=list)
    last_handshake: float = 0.0
    """Unix time; 0: there was none."""
    rx_bytes: int = 0
    tx_bytes: int = 0


@dataclass
class Status:
    """How an interface is."""

    private_key: bytes = dataclasses.field(default=bytes(32), repr=False)
    listen_port: int = 0
    peers: list[PeerStatus] = dataclasses.field(default_factory=list)


def decode_get(text: str) -> Status:
    """What `encode_get`, or another implementation, wrote. Raises `ValueError`."""
    status = Status()
    peer: PeerStatus | None = None
    for line in text.splitlines():
        key, _, value = line.partition("=")
        try:
            if key == "private_key":
                status.private_key = _key(value)
            elif key == "listen_port":
                status.listen_port = int(value)
            elif key == "public_key":
                peer = PeerStatus(_key(value))
                status.peers.append(peer)
            elif peer is not None:
                _decode_peer_line(peer, key, value)
        except ValueError:
            raise ValueError(f"{quote(key)} has a value that cannot be") from None
    return status


def _decode_peer_line(peer: PeerStatus, key: str, value: str) -> None:
    if key == "endpoint":
        peer.endpoint = value
    elif key == "allowed_ip":
        peer.allowed_ips.append(parse_network(value))
    elif key == "last_handshake_time_sec":
        peer.last_handshake += int(value)
    elif key == "last_handshake_time_nsec":
        peer.last_handshake += int(value) / 1e9
    elif key in ("rx_bytes", "tx_bytes"):
        setattr(peer, key, int(value))


def _key(text: str) -> bytes:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise ValueError("a key is 64 hexadecimal digits here")
    return bytes.fromhex(text)


def _number(high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > high:
            raise ValueError(f"{quote(text)} is not a number from 0 to {high}")
        return int(text)

    return parse


def _true(text: str) -> bool:
    if text != "true":
        raise ValueError(f"it can only be true, not {quote(text)}")
    return True


def _endpoint(text: str) -> tuple[str, int]:
    endpoint = parse_endpoint(text)
    with contextlib.suppress(ValueError):
        ip_address(endpoint[0])  # the sender has looked names up
        if format_endpoint(endpoint) == text:
            return endpoint
    raise ValueError(f"{quote(text)} is neither 192.0.2.1:51820 nor [2001:db8::1]:51820")


SET_INTERFACE: dict[str, Callable[[str], Any]] = {
    "private_key": _key,
    "listen_port": _number(65535),
    "fwmark": _number(2**32 - 1),
    "replace_peers": _true,
}

SET_PEER: dict[str, tuple[str, Callable[[str], Any]]] = {
    "remove": ("remove", _true),
    "update_only": ("update_only", _true),
    "preshared_key": ("preshared_key", _key),
    "endpoint": ("endpoint", _endpoint),
    "persistent_keepalive_interval": ("persistent_keepalive", _number(65535)),
}
