"""The contract of a store, which keeps the peers of an interface.

The interface's own key, port and addresses are not among it: they stay in the server's file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from ..config import PeerConfig
from ..keys import encode_key
from ..values import parse_name

__all__ = ["Change", "Decide", "Peers", "Store", "call"]

Peers = Mapping[bytes, PeerConfig]
"""By public key."""


class Change(NamedTuple):
    """What has become of one peer, or is to become of it."""

    public_key: bytes
    peer: PeerConfig | None
    """None: it is no peer any more."""


Decide = Callable[[Peers], Change]
"""What to change, given all peers as they are."""

Revision = TypeVar("Revision")
"""Whatever the store needs in order to tell what has changed since."""


class Store(ABC, Generic[Revision]):
    """Keeps peers: in a file, or in a database that several servers share."""

    @abstractmethod
    async def peers(self) -> tuple[dict[bytes, PeerConfig], Revision]:
        """All peers by their public keys, and the revision that this is.

        Raises `OSError`, and `ValueError` for what cannot be understood.
        """

    @abstractmethod
    def watch(self, revision: Revision) -> AsyncGenerator[list[Change], None]:
        """What has changed since that revision, by whomever, and then each time something does.

        No change is left out, but of several to one peer the last may stand for all. While the
        peers cannot be read, that is logged, and there are no changes.
        """

    async def change(self, decide: Decide) -> Change:
        """Do what `decide` says; if somebody else has changed a peer meanwhile, ask it again. What
        was done may be an earlier answer of it, so it is returned.

        Raises as `peers` does, what `decide` raises, and `ValueError` where a peer would get
        allowed IPs that another has, or no proper name. Then nothing has changed.
        """

        def checked(peers: Peers) -> Change:
            change = decide(peers)
            if change.peer is not None:
                parse_name(change.peer.name)
                _check_claims(change.peer, peers)
            return change

        return await self._change(checked)

    @abstractmethod
    async def _change(self, decide: Decide) -> Change:
        """As `change`; `decide` checks what it says."""

    async def put(self, peer: PeerConfig) -> None:
        """Add a peer, or replace the one with its public key. Raises as `change` does."""
        await self.change(lambda _: Change(peer.public_key, peer))

    async def remove(self, public_key: bytes) -> None:
        """Remove a peer. Raises `KeyError` if there is none with this key, and as `change` does."""

        def decide(peers: Peers) -> Change:
            if public_key not in peers:
                raise KeyError(public_key)
            return Change(public_key, None)

        await self.change(decide)


def call(peer: PeerConfig) -> str:
    """What to call a peer in a message: its public key, and its name if it has one."""
    key = encode_key(peer.public_key)
    return f"{peer.name} ({key})" if peer.name else key


def _check_claims(peer: PeerConfig, peers: Peers) -> None:
    """A network belongs to one peer; a part of it may be another's, as the longest prefix rules."""
    wanted = set(peer.allowed_ips)
    for other in peers.values():
        taken = wanted.intersection(other.allowed_ips)
        if taken and other.public_key != peer.public_key:
            raise ValueError(f"{min(map(str, taken))} belongs to {call(other)}: choose another")
