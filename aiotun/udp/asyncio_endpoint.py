"""PlainUdpTransport: over asyncio's own datagram endpoint, for systems that offer no more."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from ..cancelling import despite_cancellation
from .address import from_socket, to_loop
from .base import AnyProtocol, UdpTransport
from .messages import Message
from .protocol import Datagram

__all__ = ["PlainUdpTransport"]

PENDING_MAX = 1024
"""Datagrams that are kept while reading is paused: asyncio's endpoint reads on."""

PROACTOR = getattr(asyncio, "ProactorEventLoop", ())
"""Windows' own loop, whose endpoint does not ask a socket whether it is connected."""


class PlainUdpTransport(UdpTransport):
    """One datagram a system call; neither source address nor ECN.

    asyncio's own endpoint sends empty datagrams since Python 3.13, and warns itself when it is
    not closed. On Windows neither the proactor loop's (asyncio/proactor_events.py) nor winloop's
    hands over an empty one.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: AnyProtocol
    ) -> None:
        super().__init__(loop, sock, protocol)
        self._endpoint: asyncio.DatagramTransport | None = None  # until it is opened, and closed
        self._peer: Any = None  # whom to name to the endpoint of a connected socket
        if self._remote and isinstance(loop, PROACTOR):
            self._peer = to_loop(self._remote, self._family)
        self._pending: list[Datagram] = []
        self._reading = False
        self._full = False
        self._released: Callable[[], None] | None = None

    async def _open(self) -> None:
        opening = self._loop.create_datagram_endpoint(lambda: _Inner(self), sock=self._sock)
        await despite_cancellation(opening)

    def attached(self, endpoint: asyncio.DatagramTransport) -> None:
        endpoint.set_write_buffer_limits(0)  # type: ignore[attr-defined]
        self._endpoint = endpoint

    def detached(self, exc: Exception | None) -> None:
        self._endpoint = None
        if self._released is not None:
            self._released()
        else:
            self._end(exc)

    def received(self, datagram: Datagram) -> None:
        self.counters.messages_received += 1
        self.counters.datagrams_received += 1
        self.counters.bytes_received += len(datagram.data)
        if self._reading and not self._pending:
            self._deliver([datagram])
        elif len(self._pending) < PENDING_MAX and not self._closing:
            self._pending.append(datagram)
        else:
            self.counters.dropped_received += 1

    def failed(self, exc: Exception) -> None:
        self._note_error(exc)
        self._report_errors()
        self.takes_more()  # the proactor's endpoint goes on only when the next datagram comes

    def takes_more(self) -> None:
        self._full = False
        if self._backlog:
            self._loop.call_soon(self._write_ready)

    def _send(self, messages: list[Message]) -> None:
        assert self._endpoint is not None
        sent = 0
        try:
            for addr, _, _, (datagram,), _ in messages:
                if self._full:
                    break
                to = self._peer if self._remote else to_loop(addr, self._family)
                self._endpoint.sendto(datagram, to)
                sent += 1
                self._full = self._endpoint.get_write_buffer_size() > 0  # type: ignore[attr-defined]
        finally:
            self.counters.messages_sent += sent
            del messages[:sent]

    def _watch_readable(self) -> None:
        self._reading = True
        if self._pending:
            self._loop.call_soon(self._deliver_pending)

    def _deliver_pending(self) -> None:
        if self._reading and self._pending:
            datagrams, self._pending = self._pending, []
            self._deliver(datagrams)

    def _unwatch_readable(self) -> None:
        self._reading = False

    def _watch_writable(self) -> None:
        """The endpoint tells without being asked."""

    def _unwatch_writable(self) -> None:
        """The endpoint tells without being asked."""

    def _release(self, released: Callable[[], None]) -> None:
        self.counters.dropped_received += len(self._pending)
        self._pending.clear()
        if self._endpoint is None:
            self._loop.call_soon(released)
        else:
            self._released = released
            self._endpoint.abort()


class _Inner(asyncio.DatagramProtocol):
    """The protocol that asyncio's own endpoint calls."""

    def __init__(self, outer: PlainUdpTransport) -> None:
        self._outer = outer

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._outer.attached(transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._outer.received(Datagram(data, from_socket(addr), None, 0))

    def error_received(self, exc: Exception) -> None:
        self._outer.failed(exc)

    def resume_writing(self) -> None:
        self._outer.takes_more()

    def connection_lost(self, exc: Exception | None) -> None:
        self._outer.detached(exc)
