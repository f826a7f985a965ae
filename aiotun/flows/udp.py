"""UDP conversations as asyncio has them: a datagram transport and its protocol, and a stream."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..buffers import to_bytes
from ..cancelling import AsyncClosing
from ..errors import ClosedError, PathMTUError
from ..line import Line
from .base import QUEUED, Drop, Flow, FlowCounters

if TYPE_CHECKING:
    from typing_extensions import Self

    from .conversations import Conversation

__all__ = ["ConversationTransport", "DatagramStream"]


class ConversationTransport(asyncio.DatagramTransport):
    """One conversation as an asyncio transport.

    Extra infos: `flow`, `peername` (its source) and `sockname` (its destination).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        conversation: Conversation,
        protocol: asyncio.DatagramProtocol,
        send: Callable[[Conversation, bytes], None],
        end: Callable[[Conversation], None],
    ) -> None:
        flow = conversation.flow
        super().__init__({"flow": flow, "peername": flow.source, "sockname": flow.destination})
        self._loop = loop
        self._flow = flow
        self._conversation = conversation
        self._send = send
        self._end = end
        self._closing = False
        self._protocol = protocol
        conversation.received = self._received
        conversation.failed = self._failed
        conversation.ended = self._ended

    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
        """Send a datagram to the client, as one that came from where the client sends to.

        One that is too long for UDP goes to `error_received`. Raises `ValueError` for
        another address than the client's, and `TypeError` for what is not bytes. A datagram
        after the end is dropped, and so is one while the device takes no more, which is counted.
        """
        if addr is not None and tuple(addr[:2]) != self._flow.source:
            raise ValueError(f"the conversation is with {self._flow.source}, not with {addr!r}")
        data = to_bytes(data)
        if self._closing:
            return
        try:
            self._send(self._conversation, data)
        except ValueError:
            self._failed(OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE)))

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """`sendto` the client."""
        self.sendto(data)

    def close(self) -> None:
        """End the conversation. Another datagram of its client begins a new one."""
        self._end(self._conversation)

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def get_protocol(self) -> asyncio.DatagramProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.DatagramProtocol)
        self._protocol = protocol

    def get_write_buffer_size(self) -> int:
        """0: what is sent waits for the device, with that of all others."""
        return 0

    def _received(self, data: bytes) -> None:
        if not self._closing:
            self._call(self._protocol.datagram_received, data, self._flow.source)

    def _failed(self, exc: Exception) -> None:
        if not self._closing:
            self._call(self._protocol.error_received, exc)

    def _ended(self) -> None:
        self._closing = True
        self._loop.call_soon(self._call, self._protocol.connection_lost, None)

    def _call(self, callback: Callable[..., object], *args: object) -> None:
        try:
            callback(*args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._loop.call_exception_handler(
                {
                    "message": f"exception in {callback.__name__} of {self!r}",
                    "exception": exc,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )

    def __repr__(self) -> str:
        return f"<ConversationTransport {self._flow!r}>"


class DatagramStream(AsyncClosing):
    """One conversation as a stream of datagrams.

    >>> async for data in datagrams:
    ...     datagrams.send(data)

    Iteration ends when the conversation does: nothing passed for some time, it was closed, or
    the server was.
    """

    def __init__(self, protocol: StreamProtocol) -> None:
        self._protocol = protocol

    @property
    def flow(self) -> Flow:
        """Which conversation it is: its `destination` is where the client wants to go."""
        return self._protocol.flow

    @property
    def transport(self) -> ConversationTransport:
        """What the stream is made of."""
        return self._protocol.transport

    async def recv(self) -> bytes:
        """The next datagram. A cancelled call loses none.

        Raises what ICMP said about one that was sent (ECONNREFUSED and its like), as a
        connected socket does, and `ClosedError` after the end.
        """
        return await self._protocol.receive()

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send a datagram to the client. Raises `TypeError` for what is not bytes."""
        self.transport.sendto(data)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.recv()
        except ClosedError:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """End the conversation."""
        self.transport.close()

    async def aclose(self) -> None:
        self.close()


class StreamProtocol(asyncio.DatagramProtocol):
    """Keeps the datagrams of a conversation until a task asks for them."""

    transport: ConversationTransport

    def __init__(self, flow: Flow, limit: int, counters: FlowCounters) -> None:
        self.flow = flow
        self._limit = limit
        self._counters = counters
        self._kept: deque[bytes | Exception] = deque()
        self._size = 0
        self._ended = False
        self._readers = Line(lambda: self._kept or self._ended)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, ConversationTransport)
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self._size + QUEUED + len(data) > self._limit:
            self._counters.drops[Drop.QUEUE_FULL] += 1
            return
        self._size += QUEUED + len(data)
        self._kept.append(data)
        self._readers.serve(now=True)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, PathMTUError):  # what follows is made to fit
            return
        if not (self._kept and isinstance(self._kept[-1], Exception)):  # one of several will do
            self._kept.append(exc)
            self._readers.serve()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._readers.serve()

    async def receive(self) -> bytes:
        if not self._kept or self._readers.waiting:
            await self._readers.turn()
        if not self._kept:
            raise ClosedError(f"{self.flow!r} has ended")
        item = self._kept.popleft()
        if isinstance(item, Exception):
            raise item
        self._size -= QUEUED + len(item)
        return item
