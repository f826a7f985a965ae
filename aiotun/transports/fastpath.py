"""Port: where a transport's packets pass in a tick. The native module has the same in C.

This one gathers what is written and hands all else to the transport; the native
one reads, delivers and writes as well, as long as all is plain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import PacketTransport
    from .flushing import Tick

__all__ = ["Port"]


class Port:
    """What a transport and its native twin have in common."""

    def __init__(self, transport: PacketTransport, tick: Tick, size_max: int, limit: int) -> None:
        self._read = transport._read_ready
        self._write = transport.write
        self._flush = transport.flush
        self._tick = tick
        self._size_max = size_max
        self._limit = limit
        self._packets: list[bytes] = []
        self.protocol: Any = None
        self.callback = ""
        """The protocol's method that gets what was read."""
        self.pending: list[Any] = []
        """Read, and not delivered yet."""
        self.hold = True
        """Deliver no further packet: paused, or another protocol came."""
        self.target: Port | None = None
        """Where the protocol would write each super-packet: the native port does it instead."""
        self.closed = False
        self.due = False
        """To be flushed when the tick or the delivery ends."""

    def __len__(self) -> int:
        """Packets written, and not flushed yet."""
        return len(self._packets)

    def read_ready(self) -> None:
        """The queue is readable: read one bounded batch, deliver it, flush."""
        self._read()

    def write(self, data: object) -> None:
        """Gather bytes of 1 to `size_max`, below the limit, for a flush that is due.

        All else goes to the transport.
        """
        if (
            not self.closed
            and type(data) is bytes
            and 0 < len(data) <= self._size_max
            and len(self._packets) + 1 < self._limit
            and (self.due or self._tick)
        ):
            if not self.due:
                self.due = True
                self._tick.append(self)
            self._packets.append(data)
        else:
            self._write(data)  # type: ignore[arg-type]

    def append(self, packet: bytes) -> None:
        """Gather it, whatever is due."""
        self._packets.append(packet)

    def take(self) -> list[bytes]:
        """What was gathered, and is no more."""
        none: list[bytes] = []  # first of all: a finalizer may write and flush when it is made
        packets, self._packets = self._packets, none
        return packets

    def end_of_tick(self) -> None:
        self.due = False
        self._flush()
