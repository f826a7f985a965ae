"""The contract of a store, which keeps the peers of an interface.

The interface's own key, port and addresses are not among it: they stay in the server's file.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import NamedTuple, Protocol, TypeVar

from ..config import PeerConfig

__all__ = ["Change", "Store"]


class Change(NamedTuple):
    """What has become of one peer."""

    public_key: bytes
    peer: PeerConfig | None
    """None: it is no peer any more."""


Revision = TypeVar("Revision")
"""Whatever the store needs in order to tell what has changed since."""


class Store(Protocol[Revision]):
    """Keeps peers: in a file, or in a database that several servers share."""

    async def peers(self) -> tuple[dict[bytes, PeerConfig], Revision]:
        """All peers by their public keys, and the revision that this is.

        Raises `OSError`, and `ValueError` for what cannot be understood.
        """
        ...

    def watch(self, revision: Revision) -> AsyncGenerator[list[Change], None]:
        """What has changed since that revision, by whomever, and then each time something does.

        No change is left out, but of several to one peer the last may stand for all. While the
        peers cannot be read, that is logged, and there are no changes.
        """
        ...

    async def put(self, peer: PeerConfig) -> None:
        """Add a peer, or replace the one with its public key. Raises as `peers` does."""
        ...

    async def remove(self, public_key: bytes) -> None:
        """Remove a peer. Raises `KeyError` if there is none with this key, and as `peers` does."""
        ...
