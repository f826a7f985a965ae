"""One server of several: which peers it holds, which another does.

All servers have the same private key, and each takes whatever peer shakes hands with it. It then
writes into a bucket beside the peers' that it holds the peer, with the time stamp of the peer's
initiation. The greatest time stamp counts: so two servers agree without asking each other. The
one that held the peer before ends its session as it reads this, and from then on forwards the
peer's packets over the link. Every server knows all time stamps, and refuses an initiation that
is not newer.

A peer counts as moved only when it has shown that it has the session's keys: whoever replays an
initiation at another server gets an answer, and moves nobody.

A server that was cut off may begin a handshake before it hears that the peer has moved, and the
peer goes back to it. No time stamp of the peer's tells of this: so of such handshakes the later
one counts, by the clocks of the servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address
from typing import NamedTuple

from ..core.peer import Peer
from ..endpoint import WireGuard
from ..keys import decode_key, encode_key
from ..stores.bucket import EMPTY, Bucket, ConflictError, UnreachableError, patiently
from ..stores.nats import connected, parse_address
from ..values import format_endpoint, parse_endpoint, parse_name
from .link import Link, Server

__all__ = ["Holding", "Member", "joined"]

logger = logging.getLogger("aiotun.wireguard")

INTERVAL = 0.25
"""Seconds between two questions what other servers have written."""

ANNOUNCEMENTS = 1.0
"""Seconds between two announcements of a server."""

ANNOUNCEMENT_TTL = 5.0
"""Seconds without one after which a server is gone."""

AT_ONCE = 64
"""Writes that are under way at the same time."""

SERVER, HOLDER = "server.", "holder."
"""What the keys of the bucket begin with; behind it stands a public key in hexadecimal digits."""

TIMESTAMP_SIZE = 12


class Holding(NamedTuple):
    """Who holds a peer."""

    server: bytes
    """The public key of the server's link."""
    timestamp: bytes
    """The greatest of the peer's initiations (TAI64N)."""
    completed: float
    """When the handshake was complete, by the server's clock (unix time)."""


class Claim(NamedTuple):
    """What this server is to write of a peer that has shaken hands with it."""

    timestamp: bytes
    completed: float
    began: bool
    """Whether this server began the handshake: then the time stamp is an earlier one's."""

    @classmethod
    def of(cls, peer: Peer) -> Claim:
        """As it shook hands last."""
        assert peer.last_handshake is not None
        return cls(peer.timestamp, peer.last_handshake, peer.began_session)

    def is_newer(self, than: Holding) -> bool:
        return self.timestamp > than.timestamp or (self.began and self.completed > than.completed)


class Member:
    """This server among the others. Made by `joined`."""

    def __init__(self, bucket: Bucket, name: str, address: tuple[str, int]) -> None:
        self._bucket = bucket
        self._name = name
        self.link = Link(address, self._deliver)
        self._known = EMPTY
        self.servers: dict[bytes, Server] = {}
        """Those that are alive, this one too, by the public keys of their links."""
        self.holdings: dict[bytes, Holding] = {}
        """By the peers' public keys."""
        self._claims: dict[bytes, Claim] = {}
        """Of peers that have shaken hands here, which the others do not know yet."""
        self._gone: set[bytes] = set()
        """Peers that are none any more: what was written of them is to go."""
        self._wireguard: WireGuard | None = None
        self._delivering = False
        self.lost = 0
        """Packets that came over the link for a peer that another server holds."""

    async def read(self) -> None:
        """Learn what the others have written. Raises `UnreachableError`."""
        before, self._known = self._known, await self._bucket.read(self._known)
        servers = self.servers.copy()
        changed = self._known.changed_since(before)
        for key, value in changed.items():
            if key.startswith(SERVER):
                self._note(self.servers, _key_of(key), value and _decode_server(key, value))
            elif key.startswith(HOLDER):
                held = self.holdings.get(_key_of(key))
                self._note(self.holdings, _key_of(key), value and _decode_holding(value))
                if not value and held and held.server == self.link.public_key:
                    self._claim_again(_key_of(key))
        if self._wireguard is not None:
            if self.servers != servers:
                self.link.set_servers(self.servers, self._wireguard.tunnel.mtu)
                self._place(self._wireguard.tunnel.peers)
            else:
                self._place(_key_of(key) for key in changed if key.startswith(HOLDER))

    @staticmethod
    def _note(table: dict, key: bytes, value: object) -> None:  # type: ignore[type-arg]
        if value:
            table[key] = value
        else:
            table.pop(key, None)

    def serve(self, wireguard: WireGuard) -> None:
        """Take this interface's peers; `place` is to be told of those that come later."""
        self._wireguard = wireguard
        wireguard.tunnel.on_handshake(self._shook_hands)
        wireguard.sources.append(self.link.udp)
        self.link.set_servers(self.servers, wireguard.tunnel.mtu)
        self._place(wireguard.tunnel.peers)

    def place(self, public_keys: Iterable[bytes]) -> None:
        """Say of each of these peers who holds it, and forget those that have gone."""
        assert self._wireguard is not None
        changed = set(public_keys)
        self._gone |= changed - self._wireguard.tunnel.peers.keys()
        self._place(changed)

    def _place(self, public_keys: Iterable[bytes]) -> None:
        assert self._wireguard is not None
        peers = self._wireguard.tunnel.peers
        for public_key in public_keys:
            if public_key in peers:
                self._place_peer(peers[public_key])

    def _place_peer(self, peer: Peer) -> None:
        holding = self.holdings.get(peer.public_key)
        before = peer.timestamp
        if holding is not None:
            peer.learn_timestamp(holding.timestamp)
            claim = self._claims.get(peer.public_key)
            if claim is not None and claim.is_newer(holding):
                return  # they will hear of it
            self._claims.pop(peer.public_key, None)
        if holding is not None and holding.server in self.servers:
            holder = holding.server
        elif peer.last_handshake is None and peer.endpoint is not None and self.servers:
            holder = min(self.servers)  # one of them is to begin
        else:
            holder = self.link.public_key
        if holder == self.link.public_key:
            peer.elsewhere = None
            return
        peer.elsewhere = partial(self._forward, holder)
        if holding is not None and holding.timestamp >= before:
            peer.end_sessions()  # else it is shaking hands with this server

    def _shook_hands(self, peer: Peer) -> None:
        self._claims[peer.public_key] = Claim.of(peer)

    def _claim_again(self, public_key: bytes) -> None:
        """Others took the peer for gone, as it was for a while, or the bucket was made anew."""
        peer = self._wireguard and self._wireguard.tunnel.peers.get(public_key)
        if peer and peer.last_handshake is not None:
            self._claims.setdefault(public_key, Claim.of(peer))

    def _forward(self, server: bytes, packets: Sequence[bytes]) -> None:
        if self._delivering:  # two servers that each take the other for the holder
            self.lost += len(packets)
        elif packets:
            self.link.send(server, packets)

    def _deliver(self, packets: list[bytes]) -> None:
        """Packets from another server, for peers that this one holds."""
        if self._wireguard is not None:
            self._delivering = True
            try:
                self._wireguard.send(packets)
            finally:
                self._delivering = False

    async def run(self) -> None:
        """Announce this server, claim its peers, and follow the others, until cancelled."""
        assert self._wireguard is not None
        loop = asyncio.get_running_loop()
        announced = -ANNOUNCEMENTS
        reachable = True
        self._gone |= self.holdings.keys() - self._wireguard.tunnel.peers.keys()
        while True:
            try:
                if loop.time() - announced >= ANNOUNCEMENTS:
                    announced = loop.time()
                    await self.announce()
                await self._claim()
                await self.read()
                await self._forget_gone()
                reachable = True
            except UnreachableError as exc:
                if reachable:
                    logger.warning("%s; each server keeps the peers that it has", exc.strerror)
                reachable = False
            await asyncio.sleep(INTERVAL)

    async def announce(self) -> None:
        """Say for some seconds that this server is there. Raises `UnreachableError`."""
        value = {
            "name": self._name,
            "public_key": encode_key(self.link.public_key),
            "endpoint": format_endpoint(self.link.endpoint),
        }
        await self._bucket.write(
            SERVER + self.link.public_key.hex(), json.dumps(value).encode(), ttl=ANNOUNCEMENT_TTL
        )

    async def leave(self) -> None:
        """Say that this server is gone. Raises `UnreachableError`."""
        await self._bucket.write(SERVER + self.link.public_key.hex(), None)

    async def _claim(self) -> None:
        while self._claims:
            some = list(self._claims)[:AT_ONCE]
            if any(await _at_once(map(self._claim_one, some))):
                await self.read()

    async def _claim_one(self, public_key: bytes) -> None:
        claim = self._claims.get(public_key)
        peer = self._wireguard and self._wireguard.tunnel.peers.get(public_key)
        if not claim or not peer:  # another has it, or it was removed meanwhile
            self._claims.pop(public_key, None)
            return
        timestamp = claim.timestamp
        holding = self.holdings.get(public_key)
        if holding is not None:
            if not claim.is_newer(holding):
                self._place_peer(peer)
                return
            timestamp = max(timestamp, holding.timestamp)
        key = HOLDER + public_key.hex()
        entry = self._known.entries.get(key)
        mine = Holding(self.link.public_key, timestamp, claim.completed)
        await self._bucket.write(
            key, _encode_holding(mine), revision=entry.revision if entry else 0
        )
        self.holdings[public_key] = mine
        if self._claims.get(public_key) is claim:  # and it has not shaken hands again
            del self._claims[public_key]

    async def _forget_gone(self) -> None:
        some = list(self._gone)[:AT_ONCE]
        await _at_once(map(self._forget, some))
        self._gone.difference_update(some)

    async def _forget(self, public_key: bytes) -> None:
        """Remove what was written of it, unless it is a peer again, here or at another server."""
        assert self._wireguard is not None
        key = HOLDER + public_key.hex()
        entry = self._known.entries.get(key)
        if entry and entry.value is not None and public_key not in self._wireguard.tunnel.peers:
            await self._bucket.write(key, None, revision=entry.revision)


async def _at_once(writes: Iterable[Awaitable[None]]) -> list[BaseException | None]:
    """What came of each: None, or a `ConflictError`. Raises all else."""
    results = await asyncio.gather(*writes, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, ConflictError):
            raise result
    return results


@asynccontextmanager
async def joined(store: str, address: tuple[str, int]) -> AsyncIterator[Member]:
    """Be a server among those that have this store of NATS. Others reach its link at the address.

    Raises `OSError` and `ValueError`.
    """
    where = parse_address(store)
    async with connected(where) as client:
        bucket = Bucket(client, f"{where.bucket}-servers")
        await patiently(lambda: bucket.make(where.replicas))
        member = Member(bucket, socket.gethostname(), address)
        async with member.link:
            await patiently(member.read)
            await patiently(member.announce)
            await patiently(member.read)
            try:
                yield member
            finally:
                with contextlib.suppress(UnreachableError):
                    await member.leave()


def _key_of(key: str) -> bytes:
    try:
        return bytes.fromhex(key.partition(".")[2])
    except ValueError:
        return b""


def _decode_server(key: str, value: bytes) -> Server | None:
    try:
        fields = json.loads(value)
        public_key = decode_key(fields["public_key"])
        host, port = parse_endpoint(fields["endpoint"])
        ip_address(host)
        if public_key == _key_of(key):
            return Server(parse_name(fields["name"]), public_key, (host, port))
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError):
        pass
    logger.error("%s in the store is no server", ascii(key))
    return None


def _encode_holding(holding: Holding) -> bytes:
    value = {
        "server": encode_key(holding.server),
        "timestamp": holding.timestamp.hex(),
        "completed": holding.completed,
    }
    return json.dumps(value).encode()


def _decode_holding(value: bytes) -> Holding | None:
    try:
        fields = json.loads(value)
        timestamp = bytes.fromhex(fields["timestamp"])
        if len(timestamp) in (0, TIMESTAMP_SIZE):
            completed = float(fields["completed"])
            return Holding(decode_key(fields["server"]), timestamp, completed)
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError, OverflowError):
        pass
    logger.error("what a server has written into the store cannot be understood")
    return None
