"""SelectorUdpTransport: a socket that is watched by the loop's `add_reader`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from ..native import native
from .base import AnyProtocol, UdpTransport
from .messages import Message
from .protocol import Datagram, DatagramTrain, UdpCounters

__all__ = ["MessageSocket", "SelectorUdpTransport"]

READ_BATCH = 256
"""Datagrams after which one wake-up reads no further message."""


class MessageSocket(Protocol):
    """What a system's sockets can do; never blocks."""

    @property
    def gso(self) -> bool: ...
    @property
    def gro(self) -> bool: ...
    def receive(self, limit: int) -> list[Datagram]: ...
    def receive_trains(self, limit: int) -> list[DatagramTrain]: ...
    def send(self, messages: list[Message]) -> None: ...


@runtime_checkable
class NativelyRead(Protocol):
    """A socket whose trains a native port may receive, and which is told of them."""

    def take(
        self, trains: list[DatagramTrain], datagrams: int, size: int, number: int, /
    ) -> list[DatagramTrain]: ...


class SelectorUdpTransport(UdpTransport):
    """For asyncio's selector loops and uvloop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        protocol: AnyProtocol,
        kind: Callable[[socket.socket, UdpCounters, Callable[[OSError], None]], MessageSocket],
    ) -> None:
        super().__init__(loop, sock, protocol)
        sock.setblocking(False)
        self._fd = sock.fileno()
        self._socket = kind(sock, self.counters, self._note_error)
        self._reading = self._writing = False
        self._ready = self._read_ready
        if native is not None and isinstance(self._socket, NativelyRead) and not self._remote:
            self._port = port = native.UdpPort(
                self,
                self._socket,
                self._fd,
                self._family,
                self._backlog,
                self._tick,
                self.counters,
                DatagramTrain,
                READ_BATCH,
            )
            self._ready = port.read_ready
            self.post = port.post  # type: ignore[assignment,method-assign]

    def get_extra_info(self, name: str, default: object = None) -> object:
        if name == "gso":
            return self._socket.gso
        if name == "gro":
            return self._socket.gro
        return super().get_extra_info(name, default)

    def _read_ready(self) -> None:
        receive: Callable[[int], list[Any]] = self._socket.receive
        deliver: Callable[[list[Any]], None] = self._deliver
        if self._takes_trains:
            receive, deliver = self._socket.receive_trains, self._deliver_trains
        self._read(receive, deliver)

    def _read(
        self, receive: Callable[[int], list[Any]], deliver: Callable[[list[Any]], None]
    ) -> None:
        self._port.uses += 1
        before = self.counters.datagrams_received
        try:
            received = receive(READ_BATCH)
        except OSError as exc:
            received = []
            self._end(exc)
        finally:
            self._leave()
        if self._closing:  # or a finalizer, or a signal handler, closed it meanwhile
            self.counters.dropped_received += self.counters.datagrams_received - before
        elif received:
            deliver(received)
        elif not self._errors:  # a send meanwhile has raised and reported it
            self._watch_anew()
        if self._errors:
            self._report_errors()

    def _take_rest(self, *received: Any) -> None:
        """Do what is left to do with what the native port has received."""
        assert isinstance(self._socket, NativelyRead)
        take = self._socket.take
        self._read(lambda limit: take(*received), self._deliver_trains)

    def _report_errors(self) -> None:
        self._watch_anew()
        super()._report_errors()

    def _watch_anew(self) -> None:
        """After an error: uvloop ends its watch of a descriptor that had one."""
        if self._reading:
            self._loop.remove_reader(self._fd)
        if self._writing:
            self._loop.remove_writer(self._fd)
            self._loop.add_writer(self._fd, self._write_ready)
        if self._reading:
            self._loop.add_reader(self._fd, self._ready)

    def _send(self, messages: list[Message]) -> None:
        self._socket.send(messages)

    def _watch_readable(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._fd, self._ready)

    def _unwatch_readable(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _watch_writable(self) -> None:
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._fd, self._write_ready)

    def _unwatch_writable(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)

    def _release(self, released: Callable[[], None]) -> None:
        self._sock.close()
        self._loop.call_soon(released)
