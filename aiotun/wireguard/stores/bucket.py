"""A bucket of NATS JetStream's key-value store, read again by revision.

A watcher of such a bucket may be deaf for many seconds after a restart of the server, and nobody
tells it. So this asks: how far the bucket is, which costs one request, and then for what is new.
The stream's leader answers the last of these requests, for a replica may lag behind it.

A bucket is a stream whose subjects are $KV.BUCKET.KEY, of which the last message of each counts
(github.com/nats-io/nats-architecture-and-design: ADR-8; batches of messages: ADR-31).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import api

__all__ = ["EMPTY", "Bucket", "ConflictError", "Entry", "Snapshot", "UnreachableError", "patiently"]

T = TypeVar("T")

TIMEOUT = 1.0
"""Seconds for an answer: an election among NATS servers takes longer, and is asked again."""

PATIENCE = 10.0
"""Seconds that what fails is tried again: longer than the servers take to elect a leader."""

RETRY = 0.2
"""Seconds until what failed is tried again."""

BATCH = 1000
"""Messages asked for at a time."""

FEW = 16
"""New messages up to which they are fetched one by one, from the leader alone."""

MARKER_TTL = 3600.0
"""Seconds that the server's own mark stays behind a key that expired."""

WRONG_REVISION = 10071
"""JSStreamWrongLastSequenceErrF (nats-server, errors.json)."""


class UnreachableError(OSError):
    """The servers of NATS, or enough of them, do not answer."""

    def __init__(self, why: object) -> None:
        super().__init__(errno.EHOSTUNREACH, f"the store cannot be reached: {why}")
        self._why = str(why)

    def __reduce__(self) -> tuple[type[UnreachableError], tuple[str]]:
        return type(self), (self._why,)


class ConflictError(Exception):
    """Somebody else has written meanwhile."""


class Entry(NamedTuple):
    """What stands behind a key."""

    revision: int
    value: bytes | None
    """None: it was deleted, or has expired."""


@dataclass(frozen=True)
class Snapshot:
    """A bucket as it was."""

    created: object = None
    """When the bucket was made: another of the same name begins anew."""
    revision: int = 0
    entries: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}))

    def changed_since(self, before: Snapshot) -> dict[str, bytes | None]:
        """Values by the keys that are not as they were; None: there is nothing any more."""
        gone: dict[str, bytes | None] = {
            key: None for key in before.entries if key not in self.entries
        }
        new = {
            key: entry.value
            for key, entry in self.entries.items()
            if before.entries.get(key) != entry
        }
        return gone | new


EMPTY = Snapshot()


class Bucket:
    """The bucket of this name. All methods raise `UnreachableError`."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._js = client.jetstream(timeout=TIMEOUT)
        self._stream = f"KV_{name}"
        self._prefix = f"$KV.{name}."
        self._name = name

    @contextlib.asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Where no answer comes, the next question goes to another server of NATS.

        The one that is connected may be cut off from the others, or from here without a word.
        """
        reconnects = self._client.stats["reconnects"]
        try:
            yield
        except (nats.errors.Error, asyncio.TimeoutError) as exc:
            unavailable = isinstance(exc, nats.js.errors.ServiceUnavailableError)
            answered = isinstance(exc, nats.js.errors.APIError) and not unavailable
            if not answered and self._client.stats["reconnects"] == reconnects:
                await self._client.force_reconnect()
            raise UnreachableError(str(exc) or type(exc).__name__) from exc

    async def make(self, replicas: int) -> None:
        """Make it, if it is not there. Raises `ValueError` for one that cannot be used."""
        async with self._asking():
            try:
                info = await self._js.stream_info(self._stream)
            except nats.js.errors.NotFoundError:
                with contextlib.suppress(nats.js.errors.BadRequestError):  # somebody else made it
                    await self._js.create_key_value(
                        bucket=self._name,
                        direct=True,
                        replicas=replicas,
                        limit_marker_ttl=MARKER_TTL,
                    )
                info = await self._js.stream_info(self._stream)
        settings = info.config
        if settings.max_msgs_per_subject != 1 or not settings.allow_direct:
            raise ValueError(
                f"the bucket {self._name} keeps a history, or cannot be read directly: take another"
            )

    async def read(self, known: Snapshot = EMPTY) -> Snapshot:
        """The bucket as it is; what is `known` of it is not fetched again."""
        async with self._asking():
            info = await self._js.stream_info(self._stream)
            last = info.state.last_seq
            if info.created != known.created or last < known.revision:  # it was made anew
                known = Snapshot(info.created)
            if last != known.revision:
                known = await self._catch_up(known, last)
            if last == known.revision and len(known.entries) != info.state.messages:
                # Something has gone and left no mark.
                known = await self._catch_up(Snapshot(info.created), last)
        return known

    async def write(
        self,
        key: str,
        value: bytes | None,
        *,
        bucket_revision: int | None = None,
        revision: int | None = None,
        ttl: float | None = None,
    ) -> int:
        """Write a value, or delete it (None); return its revision.

        Raises `ConflictError` unless the whole bucket, or this key alone, still has the revision
        that is named. The value expires after `ttl` seconds. After an `UnreachableError` it may
        have been written.
        """
        headers = {} if value is not None else {"KV-Operation": "DEL"}
        if bucket_revision is not None:
            headers[api.Header.EXPECTED_LAST_SEQUENCE.value] = str(bucket_revision)
        if revision is not None:
            headers[api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value] = str(revision)
        async with self._asking():
            if not self._client.is_connected:  # else it waits there, and is sent at some time
                raise UnreachableError("there is no connection")
            try:
                ack = await self._js.publish(
                    self._prefix + key, value or b"", headers=headers or None, msg_ttl=ttl
                )
            except nats.js.errors.APIError as exc:
                if exc.err_code == WRONG_REVISION:
                    raise ConflictError(key) from None
                raise
        return ack.seq

    async def _catch_up(self, known: Snapshot, last: int) -> Snapshot:
        entries, revision = dict(known.entries), known.revision
        if last - revision > FEW:
            revision = await self._read_batches(entries, revision)
        while True:
            try:
                message = await self._js.get_msg(
                    self._stream, seq=revision + 1, subject=self._prefix + ">", next=True
                )
            except nats.js.errors.NotFoundError:
                break
            revision = self._take(entries, message.subject, message.seq, message)
        # What came last may have expired already.
        return Snapshot(known.created, max(revision, last), MappingProxyType(entries))

    async def _read_batches(self, entries: dict[str, Entry], revision: int) -> int:
        """Read what a replica has beyond the revision; return the last one."""
        inbox = self._client.new_inbox()
        answers = await self._client.subscribe(inbox)
        try:
            pending = True
            while pending:
                request = {"seq": revision + 1, "batch": BATCH, "next_by_subj": self._prefix + ">"}
                subject = f"$JS.API.DIRECT.GET.{self._stream}"
                await self._client.publish(subject, json.dumps(request).encode(), reply=inbox)
                while True:
                    message = await answers.next_msg(timeout=TIMEOUT)
                    headers = message.headers or {}
                    status = headers.get("Status")
                    if status is not None:  # 204: the end of a batch; 404: there is nothing
                        if status not in ("204", "404"):
                            raise UnreachableError(f"status {status}")
                        pending = headers.get("Nats-Num-Pending", "0") != "0"
                        break
                    number = int(headers["Nats-Sequence"])
                    revision = self._take(entries, headers["Nats-Subject"], number, message)
        finally:
            with contextlib.suppress(nats.errors.Error):
                await answers.unsubscribe()
        return revision

    def _take(
        self, entries: dict[str, Entry], subject: str | None, number: int | None, message: Any
    ) -> int:
        """A message is a value, or marks that there is none any more."""
        assert subject is not None
        assert number is not None
        headers = message.headers or {}
        deleted = "KV-Operation" in headers or "Nats-Marker-Reason" in headers
        value = None if deleted else message.data or b""
        entries[subject.removeprefix(self._prefix)] = Entry(number, value)
        return number


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Call it until the store can be reached. Raises `UnreachableError` if that takes too long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while True:
        try:
            return await call()
        except UnreachableError:
            if loop.time() > deadline:
                raise
        await asyncio.sleep(RETRY)
