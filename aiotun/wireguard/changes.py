"""Changes to a running interface, whoever asks for them: the `wg` tool, or a file that changed."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .config import InterfaceConfig, PeerConfig
from .core.allowed_ips import Network
from .values import format_host

__all__ = ["Changeable", "Changes", "Control", "PeerChange", "difference", "snapshot"]


@dataclass
class PeerChange:
    """What to change about one peer; None: leave it."""

    public_key: bytes
    remove: bool = False
    update_only: bool = False
    """Do nothing unless there is such a peer."""
    name: str | None = None
    preshared_key: bytes | None = dataclasses.field(default=None, repr=False)
    endpoint: tuple[str, int] | None = None
    persistent_keepalive: int | None = None
    replace_allowed_ips: bool = False
    allowed_ips: dict[Network, bool] = dataclasses.field(default_factory=dict)
    """Those to add (True) and those to take away (False)."""


@dataclass
class Changes:
    """What to change about an interface; None: leave it."""

    private_key: bytes | None = dataclasses.field(default=None, repr=False)
    listen_port: int | None = None
    fwmark: int | None = None
    replace_peers: bool = False
    peers: list[PeerChange] = dataclasses.field(default_factory=list)


class PeerState(Protocol):
    """What `Control` reads of a peer; `peer.Peer` has it."""

    @property
    def name(self) -> str: ...
    @property
    def preshared_key(self) -> bytes: ...
    @property
    def allowed_ips(self) -> tuple[Network, ...]: ...
    @property
    def persistent_keepalive(self) -> int: ...
    @property
    def endpoint(self) -> tuple[Any, ...] | None: ...
    @property
    def last_handshake(self) -> float | None: ...
    @property
    def rx_bytes(self) -> int: ...
    @property
    def tx_bytes(self) -> int: ...


class TunnelState(Protocol):
    """What `Control` reads of a tunnel; `tunnel.Tunnel` has it."""

    @property
    def private_key(self) -> bytes: ...
    @property
    def public_key(self) -> bytes: ...
    @property
    def peers(self) -> Mapping[bytes, PeerState]: ...
    @property
    def counters(self) -> Any: ...


class Changeable(Protocol):
    """What `Control` needs of an interface; `endpoint.WireGuard` has it."""

    @property
    def tunnel(self) -> TunnelState: ...
    @property
    def listen_port(self) -> int: ...
    @property
    def fwmark(self) -> int: ...
    def set_peer(self, config: PeerConfig) -> None: ...
    def remove_peer(self, public_key: bytes) -> None: ...
    def set_private_key(self, private_key: bytes) -> None: ...
    async def set_listen_port(self, port: int) -> None: ...
    async def set_fwmark(self, mark: int) -> None: ...


class Control:
    """An interface, and changes to it, one after the other."""

    def __init__(self, interface: Changeable) -> None:
        self.interface = interface
        self._lock = asyncio.Lock()  # opening a socket takes its time

    async def apply(self, changes: Changes) -> None:
        """Make the changes. Raises `OSError` at the first that is refused; earlier ones stay."""
        async with self._lock:
            interface = self.interface
            if changes.listen_port not in (None, interface.listen_port):
                await interface.set_listen_port(changes.listen_port)
            if changes.fwmark not in (None, interface.fwmark):
                await interface.set_fwmark(changes.fwmark)
            if changes.private_key not in (None, interface.tunnel.private_key):
                interface.set_private_key(changes.private_key)
            if changes.replace_peers:
                for public_key in list(interface.tunnel.peers):
                    interface.remove_peer(public_key)
            for change in changes.peers:
                self._apply_peer(change)

    def _apply_peer(self, change: PeerChange) -> None:
        tunnel = self.interface.tunnel
        if change.public_key == tunnel.public_key:
            return  # one list of peers for all: each leaves itself out
        peer = tunnel.peers.get(change.public_key)
        if change.remove:
            if peer is not None:
                self.interface.remove_peer(change.public_key)
            return
        config = PeerConfig(change.public_key)
        if peer is not None:
            config = dataclasses.replace(
                config,
                name=peer.name,
                preshared_key=peer.preshared_key,
                allowed_ips=peer.allowed_ips,
                persistent_keepalive=peer.persistent_keepalive,
            )
        elif change.update_only:
            return
        allowed_ips = {} if change.replace_allowed_ips else dict.fromkeys(config.allowed_ips, True)
        allowed_ips.update(change.allowed_ips)
        new = {
            "name": change.name,
            "endpoint": change.endpoint,
            "preshared_key": change.preshared_key,
            "persistent_keepalive": change.persistent_keepalive,
            "allowed_ips": tuple(network for network, wanted in allowed_ips.items() if wanted),
        }
        changed: dict[str, Any] = {name: value for name, value in new.items() if value is not None}
        self.interface.set_peer(dataclasses.replace(config, **changed))


def snapshot(interface: Changeable, config: InterfaceConfig) -> InterfaceConfig:
    """The configuration as it is now: that of the interface, and what `config` has besides.

    A peer whose endpoint was not found yet keeps the endpoint that `config` names.
    """
    tunnel = interface.tunnel
    endpoints = {peer.public_key: peer.endpoint for peer in config.peers}
    return dataclasses.replace(
        config,
        private_key=tunnel.private_key,
        listen_port=interface.listen_port,
        fwmark=interface.fwmark,
        peers=tuple(
            PeerConfig(
                public_key,
                name=peer.name,
                preshared_key=peer.preshared_key,
                endpoint=(format_host(peer.endpoint), peer.endpoint[1])
                if peer.endpoint is not None
                else endpoints.get(public_key),
                allowed_ips=peer.allowed_ips,
                persistent_keepalive=peer.persistent_keepalive,
            )
            for public_key, peer in tunnel.peers.items()
        ),
    )


def difference(old: InterfaceConfig, new: InterfaceConfig) -> Changes:
    """What is to change so that what was as in `old` becomes as in `new`, and nothing else."""
    changes = Changes()
    for name in ("private_key", "listen_port", "fwmark"):
        if getattr(old, name) != getattr(new, name):
            setattr(changes, name, getattr(new, name))
    before = {peer.public_key: peer for peer in old.peers}
    after = {peer.public_key: peer for peer in new.peers}
    changes.peers = [PeerChange(key, remove=True) for key in before if key not in after]
    for key, peer in after.items():
        if peer != before.get(key):
            changes.peers.append(_replace(peer, before.get(key)))
    return changes


def _replace(peer: PeerConfig, known: PeerConfig | None) -> PeerChange:
    """Endpoints roam: one that stands in the file as before is left where it is now."""
    return PeerChange(
        peer.public_key,
        name=peer.name,
        preshared_key=peer.preshared_key,
        endpoint=None if known is not None and known.endpoint == peer.endpoint else peer.endpoint,
        persistent_keepalive=peer.persistent_keepalive,
        replace_allowed_ips=True,
        allowed_ips=dict.fromkeys(peer.allowed_ips, True),
    )
