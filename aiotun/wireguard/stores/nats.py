"""Peers in NATS JetStream, which several servers share: one key of a bucket for each peer.

The bucket is asked twice a second how far it is, see `bucket`. A change is written only if the
whole bucket is still as it was when the change was decided on: so no two peers get the same
address, however many clients add them at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import nats
import nats.errors
from nats.aio.client import Client

from ...files import check_file
from ..config import PeerConfig
from ..keys import decode_key, encode_key
from ..values import format_endpoint, parse_endpoint, parse_name, parse_network
from . import bucket as bucket_module
from .base import Change, Decide, Store
from .bucket import EMPTY, Bucket, ConflictError, Snapshot, UnreachableError, patiently

__all__ = ["Address", "NatsStore", "connected", "decode_peer", "encode_peer", "parse_address"]

logger = logging.getLogger("aiotun.wireguard")

INTERVAL = 0.5
"""Seconds between two questions how far the bucket is."""

CONNECT_TIMEOUT = 5.0

PEER = "peer."
"""What the keys of peers begin with; behind it stands the public key in hexadecimal digits."""


class Address(NamedTuple):
    """Where a bucket is: `parse_address` says how it is written."""

    servers: tuple[str, ...]
    bucket: str
    replicas: int
    files: Mapping[str, str]
    """Paths by what they are for: ca, cert, key, creds."""


def parse_address(url: str) -> Address:
    """nats://[USER:PASSWORD@]HOST[:PORT][,HOST...]/BUCKET[?replicas=3&ca=FILE&creds=FILE...]

    With tls:// the connection is encrypted: `ca` is who signs the servers' certificates, `cert`
    and `key` are the client's own; `creds` is a file of NATS credentials. `replicas` counts when
    the bucket is made. Raises `ValueError`, which does not quote the password.
    """
    parts = urlsplit(url)
    user, _, hosts = parts.netloc.rpartition("@")
    if parts.scheme not in ("nats", "tls") or not all(hosts.split(",")):
        raise ValueError("a store of NATS is nats://HOST:4222/BUCKET, or tls:// and the same")
    bucket = unquote(parts.path.strip("/"))
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", bucket):
        raise ValueError("behind the host a bucket is named, by letters, digits, _ and -")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    replicas = options.pop("replicas", "1")
    unknown = options.keys() - {"ca", "cert", "key", "creds"}
    if unknown:
        raise ValueError(f"{min(unknown)} is no option of a store: replicas, ca, cert, key, creds")
    if replicas not in ("1", "3", "5"):
        raise ValueError("replicas are 1, 3 or 5")
    before = f"{user}@" if user else ""
    servers = tuple(f"{parts.scheme}://{before}{host}" for host in hosts.split(","))
    return Address(servers, bucket, int(replicas), options)


class _Client(Client):
    """Leaves no socket open of a server that took the connection and then said nothing.

    The base class forgets it and tries the next one (nats-py 2.16).
    """

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except BaseException:
            if self._transport is not None:
                self._transport.close()  # type: ignore[no-untyped-call]
            raise


@contextlib.asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Client]:
    """A connection, which comes back by itself. Raises `OSError` where none can be had."""
    options: dict[str, Any] = {}
    for file in address.files.values():
        check_file(Path(file))  # which is read by others, and again when the connection comes back
    if address.servers[0].startswith("tls://"):
        options["tls"] = _tls(address.files)
    if "creds" in address.files:
        options["user_credentials"] = address.files["creds"]
    client = _Client()
    try:
        await asyncio.wait_for(
            client.connect(
                random.sample(address.servers, len(address.servers)),
                name="aiotun",
                dont_randomize=True,  # it goes on to another, not to the same by chance
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.2,  # type: ignore[arg-type]  # it only sleeps so long
                connect_timeout=1,  # one that is cut off keeps us from the next no longer
                ping_interval=1,  # a server that is cut off does not hang up
                max_outstanding_pings=2,
                error_cb=_log_error,
                disconnected_cb=_log_loss,
                reconnected_cb=_log_return,
            ),
            CONNECT_TIMEOUT,
        )
    except (nats.errors.Error, asyncio.TimeoutError, OSError) as exc:
        await client.close()
        raise UnreachableError(str(exc) or "no answer") from exc
    try:
        yield client
    finally:
        await client.close()


class NatsStore(Store[Snapshot]):
    """The peers of a bucket. Made by `open`."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._known = EMPTY
        self._decoded: dict[str, tuple[int, PeerConfig | None]] = {}
        """Peers by the keys of the bucket, with the revisions of which they were made."""
        self._unknown: set[str] = set()
        """Fields of which it was said that they are not known here."""
        self.reachable = True

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[NatsStore]:
        """Connect, and make the bucket if it is not there. Raises `OSError` and `ValueError`."""
        address = parse_address(url)
        async with connected(address) as client:
            bucket = Bucket(client, address.bucket)
            await patiently(lambda: bucket.make(address.replicas))
            yield cls(bucket)

    async def peers(self) -> tuple[dict[bytes, PeerConfig], Snapshot]:
        return await patiently(self._read)

    async def _read(self) -> tuple[dict[bytes, PeerConfig], Snapshot]:
        known = self._known = await self._bucket.read(self._known)
        return self._decode(known), known

    async def watch(self, revision: Snapshot) -> AsyncGenerator[list[Change], None]:
        while True:
            try:
                known = self._known = await self._bucket.read(revision)
            except UnreachableError as exc:
                if self.reachable:
                    logger.warning("%s; what held before holds on", exc.strerror)
                self.reachable = False
            else:
                if not self.reachable:
                    logger.warning("the store can be reached again")
                self.reachable = True
                before, revision = revision, known
                keys = known.changed_since(before)
                changes = [
                    Change(public_key, self._peer(key, known))
                    for key in keys
                    if (public_key := _public_key(key)) is not None
                ]
                if changes:
                    yield changes
            await asyncio.sleep(INTERVAL if self.reachable else bucket_module.RETRY)

    async def _change(self, decide: Decide) -> Change:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + bucket_module.PATIENCE
        untold: list[Change] = []
        """Perhaps written, now or later."""
        while True:
            try:
                peers, known = await self._read()
                for change in untold:
                    if peers.get(change.public_key) == change.peer:
                        return change
                key, peer = change = decide(peers)
                if peers.get(key) != peer:
                    at = PEER + key.hex()
                    before = known.entries.get(at)
                    value = None if peer is None else encode_peer(peer, before and before.value)
                    untold.append(change)
                    await self._bucket.write(at, value, bucket_revision=known.revision)
                return change
            except ConflictError:
                untold.pop()  # this one was not
            except UnreachableError:
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(random.uniform(0.001, 0.05))

    def _decode(self, known: Snapshot) -> dict[bytes, PeerConfig]:
        peers = (self._peer(key, known) for key in known.entries)
        return {peer.public_key: peer for peer in peers if peer is not None}

    def _peer(self, key: str, known: Snapshot) -> PeerConfig | None:
        """None where there is no peer, or nothing that can be understood, which is logged."""
        entry = known.entries.get(key)
        public_key = _public_key(key)
        if entry is None or entry.value is None or public_key is None:
            self._decoded.pop(key, None)
            return None
        revision, peer = self._decoded.get(key, (0, None))
        if revision != entry.revision:
            try:
                peer = decode_peer(public_key, entry.value)
                self._tell_unknown(_unknown_fields(entry.value))
            except ValueError as exc:
                logger.error("%s in the store is no peer: %s", key, exc)
                peer = None
            self._decoded[key] = entry.revision, peer
        return peer

    def _tell_unknown(self, fields: Mapping[str, Any]) -> None:
        for name in fields.keys() - self._unknown:
            self._unknown.add(name)
            logger.warning(
                "peers in the store have the field %s, which is not known here: another version "
                "wrote it, and what else it wrote holds",
                ascii(name),
            )


def encode_peer(peer: PeerConfig, before: bytes | None = None) -> bytes:
    """A peer as it stands in the bucket: JSON, without its public key.

    What stood there before, if it was JSON, keeps fields that are not known here.
    """
    value: dict[str, Any] = {"name": peer.name, "enabled": peer.enabled}
    with contextlib.suppress(ValueError):
        value |= _unknown_fields(before or b"{}")
    if any(peer.preshared_key):
        value["preshared_key"] = encode_key(peer.preshared_key)
    if peer.endpoint is not None:
        value["endpoint"] = format_endpoint(peer.endpoint)
    value["allowed_ips"] = [str(network) for network in peer.allowed_ips]
    value["persistent_keepalive"] = peer.persistent_keepalive
    return json.dumps(value).encode()


def decode_peer(public_key: bytes, data: bytes) -> PeerConfig:
    """What `encode_peer` wrote. Raises `ValueError`, which quotes no key."""
    fields: dict[str, Any] = {}
    known = _fields(data)
    for name in known.keys() & FIELDS.keys():
        kind, parse = FIELDS[name]
        content = known[name]
        if type(content) is not kind:
            raise ValueError(f"{name} is no {kind.__name__}")
        fields[name] = parse(content)
    return PeerConfig(public_key, **fields)


def _unknown_fields(data: bytes) -> dict[str, Any]:
    return {name: content for name, content in _fields(data).items() if name not in FIELDS}


def _fields(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def _networks(words: list[Any]) -> tuple[Any, ...]:
    return tuple(parse_network(str(word)) for word in words)


def _seconds(number: int) -> int:
    if not 0 <= number <= 65535:
        raise ValueError("persistent_keepalive is no number from 0 to 65535")
    return number


FIELDS: dict[str, tuple[type, Any]] = {
    "name": (str, parse_name),
    "enabled": (bool, bool),
    "preshared_key": (str, decode_key),
    "endpoint": (str, parse_endpoint),
    "allowed_ips": (list, _networks),
    "persistent_keepalive": (int, _seconds),
}


def _public_key(key: str) -> bytes | None:
    """That of the peer whose key of the bucket this is; None: it is no peer's."""
    digits = key.removeprefix(PEER)
    return bytes.fromhex(digits) if re.fullmatch(r"[0-9a-f]{64}", digits) else None


def _tls(files: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.get("ca"))
    if "cert" in files:
        context.load_cert_chain(files["cert"], files.get("key"))
    return context


async def _log_error(exc: Exception) -> None:
    logger.debug("NATS: %s", exc)


async def _log_loss() -> None:
    logger.info("the connection to NATS is lost")


async def _log_return() -> None:
    logger.info("the connection to NATS is back")
