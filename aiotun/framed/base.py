"""The contracts of framed ends: where items come from, where they go, and streams of packets."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ..errors import ClosedError, UnsupportedError
from ..native import Counted, ItemCounts

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FramedCounters", "PacketStreamLike", "Sink", "Source"]

T = TypeVar("T")


@dataclass
class FramedCounters(Counted, ItemCounts):
    """What passed through a framed end, in items."""

    received: int = field(default_factory=int)
    sent: int = field(default_factory=int)
    broken: int = field(default_factory=int)
    """Items that could not be decoded: each raised a `CodecError`."""


class PacketStreamLike(Protocol):
    """What a framed end needs of a stream of packets. A `PacketStream` is one."""

    async def recv(self) -> bytes:
        """The next packet; `ClosedError` at the end. A cancelled call loses none."""

    async def recv_many(self) -> list[bytes]:
        """All packets that wait, at least one."""

    async def send_many(self, packets: Iterable[bytes], /) -> None:
        """Send packets, and wait while the other side takes no more."""

    async def aclose(self) -> None:
        """Send what waits, and close; at once when cancelled."""


class Source(ABC, Generic[T]):
    """Items as they come."""

    def __init__(self, counters: FramedCounters) -> None:
        self.counters = counters
        self.closed = False

    @abstractmethod
    async def recv(self) -> T:
        """The next item. Raises `CodecError`, `ClosedError` at the end, or what broke it."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """`recv`, which raises `StopAsyncIteration` at the end."""
        try:
            return await self.recv()
        except ClosedError:
            raise StopAsyncIteration from None

    @abstractmethod
    async def recv_many(self) -> list[T]:
        """All items that wait, at least one; raises as `recv` does."""

    @abstractmethod
    def release(self) -> tuple[list[T], bytes]:
        """Items decoded and not received, and bytes that are no whole item yet."""

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError("this end is closed")


class Sink(ABC, Generic[T]):
    """Takes items."""

    def __init__(self, counters: FramedCounters) -> None:
        self.counters = counters
        self.closed = False

    def check_open(self) -> None:
        """Raise `ClosedError`, or what broke the stream, if anything did."""
        if self.closed:
            raise ClosedError("this end is closed")

    @property
    @abstractmethod
    def full(self) -> bool:
        """Whether `ready` would wait."""

    @abstractmethod
    async def ready(self) -> None:
        """Wait until there is room; raises as `check_open` does."""

    async def send(self, item: T) -> None:
        """Take an item when there is room. Raises as `ready` and `put` do."""
        await self.ready()
        self.put((item,))

    @abstractmethod
    def put(self, items: Iterable[T]) -> int:
        """Take items, to be sent at the end of the tick at the latest, and say how many.

        Raises `CodecError` for what cannot be encoded, after taking those before.
        """

    @abstractmethod
    async def flush(self) -> None:
        """Hand over all that was put, and wait until it is taken."""

    async def send_eof(self) -> None:
        raise UnsupportedError(errno.EOPNOTSUPP, "packets have no end of stream")

    def abort(self) -> None:
        """Take nothing more, and drop what waits."""
        self.closed = True
