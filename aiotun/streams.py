"""PacketStream: a device as a stream, read with `async for` and written with `await`.

A protocol of its own stands behind a stream. It keeps what the transport delivers until a
task asks for it, and pauses reading while it keeps too much.
"""

from __future__ import annotations

import asyncio
import errno
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING

from .buffers import to_bytes
from .cancelling import AsyncClosing
from .errors import BusyError, ClosedError
from .line import Line
from .native import Messages
from .packetio import PACKET_MAX, check_packet
from .protocols import Callbacks, PacketProtocol
from .throttle import Throttle
from .transports.base import MessageTransport
from .transports.fastpath import WRITE_BATCH
from .transports.packets import PacketTransport

if TYPE_CHECKING:
    from typing_extensions import Self

    from .config import Layer
    from .device import Device
    from .logs import NamedLogger

__all__ = ["MessageProtocol", "PacketStream", "StreamProtocol"]

HIGH_WATER = 1024
"""Messages that wait to be received before reading pauses; it resumes at a quarter."""


class MessageProtocol(Messages, Callbacks, ABC):
    """Keeps the packets or datagrams that arrive until a task asks for them."""

    transport: MessageTransport
    _logger: NamedLogger

    def __init__(self) -> None:
        self.kept: deque[bytes] = deque()
        self._full = False  # whether reading is paused because too much is kept
        self.closed = False
        self.readers = Line(lambda: self.kept or self.closed)
        self._writers = Line(lambda: self.writable or self.closed)
        self._readers_waiting = self.readers.waiting
        self._writers_waiting = self._writers.waiting
        self.writable = True
        self.written = 0
        self._yield_at = WRITE_BATCH
        self._turns = 0
        self._warnings = Throttle()

    def _keep(self, messages: list[bytes]) -> None:
        """Keep what was delivered, and pause reading once that is too much."""
        self.kept += messages
        self.readers.serve(now=True)
        if len(self.kept) >= HIGH_WATER:
            self._full = True
            self.transport.pause_reading()

    async def receive(self) -> bytes:
        """The next message, which goes to the task that has waited longest."""
        if not self.kept or self.readers.waiting:
            await self.readable()
        return self.take()

    def take(self) -> bytes:
        """The next message, which is there."""
        message = self.kept.popleft()
        if self._full:
            self._make_room()
        return message

    async def receive_many(self) -> list[bytes]:
        """All messages that wait, at least one; in turn with `receive`."""
        if not self.kept or self.readers.waiting:
            await self.readable()
        return self.drain()

    def drain(self) -> list[bytes]:
        """All messages that wait, if any."""
        messages = list(self.kept)
        self.kept.clear()
        if self._full:
            self._make_room()
        return messages

    def _make_room(self) -> None:
        if len(self.kept) <= HIGH_WATER // 4:
            self._full = False
            self.transport.resume_reading()

    async def readable(self, at_once: Callable[[], None] | None = None) -> None:
        """Wait until there are messages for this task. Raises what ended the transport.

        A task that passes `at_once` need not run: when its turn comes, the delivery
        calls `at_once`, and what that writes leaves with the delivery. This returns
        only if `at_once` left messages behind, and raises what `at_once` raised.
        """
        await self.readers.turn(at_once)
        if not self.kept:
            raise self._ended()

    def is_ready_to_write(self) -> bool:
        """Whether `ready_to_write` would return at once."""
        return (
            self.writable
            and not self._writers.waiting
            and self.written < self._yield_at
            and not self.transport.is_closing()
        )

    async def ready_to_write(self) -> None:
        """Wait until the transport takes messages. Raises what ended the transport."""
        if self.written >= self._yield_at:  # a task that never waits starves the loop
            self._yield_at = self.written + WRITE_BATCH
            if self._turns == self.transport.turns:  # and one that has waited does not
                await asyncio.sleep(0)
            self._turns = self.transport.turns
        if not self.writable or self._writers.waiting:
            await self._writers.turn()
        self.check_open()

    def check_open(self) -> None:
        """Raise what ended the transport if anything did."""
        if self.transport.is_closing():
            raise self._ended()

    def _ended(self) -> Exception:
        failure = self.transport._failure
        if failure is None:
            return ClosedError(f"{self.transport!r} was closed")
        return failure.with_traceback(None)  # it grows with each raise

    @abstractmethod
    def write(self, messages: Iterable[bytes | bytearray | memoryview]) -> int:
        """Write messages, and say how many; they leave together.

        Raises `PacketError` for the first that cannot be one, `TypeError` for what is not bytes.
        """

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._writers.serve()

    def error_received(self, exc: Exception) -> None:
        """Log the error: it belongs to no call that could raise it. The counters have it too."""
        if self._warnings.admit((type(exc), getattr(exc, "errno", None))) is not None:
            self._logger.warning("%s", exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.readers.serve()
        self._writers.serve()


class StreamProtocol(MessageProtocol, PacketProtocol):
    """The packets of a device."""

    transport: PacketTransport

    def connection_made(self, transport: PacketTransport) -> None:
        self.transport = transport
        self._logger = transport.device.logger
        self._layer: Layer = transport.device.layer
        self._largest = PACKET_MAX[self._layer]

    def packets_received(self, packets: list[bytes]) -> None:
        self._keep(packets)

    def write(self, messages: Iterable[bytes | bytearray | memoryview]) -> int:
        write = self.transport.write
        largest = self._largest
        count = 0
        try:
            for packet in messages:
                if type(packet) is not bytes:
                    packet = to_bytes(packet)
                if not 0 < len(packet) <= largest:
                    check_packet(packet, self._layer)
                write(packet)
                count += 1
        finally:
            self.written += count
        return count


class PacketStream(AsyncClosing):
    """The packets of a device as a stream.

    >>> async with open_device(addresses=["10.9.0.1/24"]) as tun:
    ...     async for packet in tun:
    ...         await tun.send(packet)

    Iteration ends when the stream is closed, and raises what ended the device
    otherwise. One task at a time may wait for packets, another gets a
    `BusyError`; any number may send. A packet that the system refuses after
    `send` returned is logged and stands in `transport.counters`.

    `receive`, `send` and `aclose` are the names of anyio's `ObjectStream[bytes]`.
    """

    def __init__(self, protocol: StreamProtocol) -> None:
        self._protocol = protocol

    @property
    def transport(self) -> PacketTransport:
        """What the stream is made of: its `counters` tell what passed and what was dropped."""
        return self._protocol.transport

    @property
    def device(self) -> Device:
        """The device, to ask about its interface and to change it."""
        return self.transport.device

    async def recv(self) -> bytes:
        """The next packet. A cancelled call loses none.

        Raises `ClosedError` after the end, or what ended the device, such as
        `InterfaceGoneError`.
        """
        self._check_only_reader()
        return await self._protocol.receive()

    async def recv_many(self) -> list[bytes]:
        """All packets that wait, at least one; raises as `recv` does."""
        self._check_only_reader()
        return await self._protocol.receive_many()

    receive = recv

    def _check_only_reader(self) -> None:
        if self._protocol.readers.waiting:
            raise BusyError(errno.EBUSY, "another task is receiving from this stream")

    async def send(self, packet: bytes | bytearray | memoryview) -> None:
        """Write one packet, after waiting until the device takes it.

        A cancelled call has not sent. Raises `PacketError` for what cannot be a
        packet, `TypeError` for what is not bytes, `ClosedError` after the end, or
        what ended the device.
        """
        await self._protocol.ready_to_write()
        self._protocol.write((packet,))

    async def send_many(self, packets: Iterable[bytes | bytearray | memoryview]) -> None:
        """`send` each packet. If this raises or is cancelled, the packets before were sent."""
        remaining = iter(packets)
        while True:
            await self._protocol.ready_to_write()
            if self._protocol.write(islice(remaining, WRITE_BATCH)) < WRITE_BATCH:
                return

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.recv()
        except ClosedError:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Send what waits, close, and wait until the device is gone.

        The device is gone too when this is cancelled while it waits; packets
        that wait for a device that pushes back are dropped then.
        """
        await self.transport.aclose()
