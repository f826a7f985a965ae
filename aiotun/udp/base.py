"""UdpTransport: a UDP socket as an asyncio transport, whatever moves its datagrams.

Everything that users see is decided here. A subclass sends messages, and says
when datagrams came and when the socket takes more.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from ..buffers import to_bytes
from ..trains import SEGMENTS_MAX, cut
from ..transports.base import MessageTransport, Uses
from ..transports.flushing import flush_since, tick_of
from .address import check_types, from_socket, is_v4, peer_name, to_socket
from .cmsg import encode
from .messages import Message, Outbox, Way, pack
from .protocol import Datagram, DatagramTrain, SocketAddress, UdpCounters, UdpProtocol

__all__ = ["AnyProtocol", "UdpTransport"]

AnyProtocol = UdpProtocol | asyncio.DatagramProtocol

Posted = list[tuple[bytes, int, SocketAddress, str | None, int]]

WRITE_BATCH = 512
"""Datagrams that gather before they are sent without waiting for the end of the tick."""

BUFFERS = {"receive_buffer": socket.SO_RCVBUF, "send_buffer": socket.SO_SNDBUF}
"""Extra infos that only an open socket has."""

CHECKED_MAX = 4096
"""Addresses, with the ways to send there, of which it is remembered that they can be sent to."""


class NoPort:
    """Counts the uses where no native port does."""

    uses = 0


class UdpTransport(MessageTransport, asyncio.DatagramTransport):
    """Moves datagrams between a socket and a `UdpProtocol`, or a plain `DatagramProtocol`.

    Made by `create_udp_endpoint`. Its buffers are counted in datagrams, not
    bytes. Not thread-safe, like all of asyncio's transports.

    Extra infos: `socket`, `sockname`, `peername`, `gso` and `gro` (whether many
    datagrams share a system call), `receive_buffer` and `send_buffer` (bytes
    that the kernel granted).
    """

    _noun = "datagram"
    _protocol_kind = UdpProtocol

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: AnyProtocol
    ) -> None:
        self._check_protocol(protocol)
        self._sock = sock
        self._family = int(sock.family)  # the enumeration's own hash is slow
        self._remote = peer_name(sock)
        self._port: Uses = NoPort()
        self.counters = UdpCounters()
        """Datagrams, messages, bytes and drops, both ways."""
        self._tick = tick_of(loop)
        self._outbox = Outbox(functools.lru_cache(maxsize=CHECKED_MAX)(self._check))
        self._gathered = 0  # datagrams in the outbox
        self._scheduled = False  # a flush follows
        self._turns = 0
        self._backlog: list[Message] = []
        self._errors: dict[str, Exception] = {}  # to be reported, once for each kind
        self._closing = False
        infos = {
            "socket": sock,
            "sockname": from_socket(sock.getsockname()),
            "peername": self._remote,
            "gso": False,
            "gro": False,
        }
        super().__init__(loop, infos)
        self.set_protocol(protocol)

    # What it is.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        option = BUFFERS.get(name)
        if option is None or self._sock.fileno() < 0:
            return super().get_extra_info(name, default)
        size = self._sock.getsockopt(socket.SOL_SOCKET, option)
        return size // 2 if sys.platform == "linux" else size  # socket(7): twice what was asked for

    @property
    def socket(self) -> socket.socket:
        """The socket itself, for its options."""
        return self._sock

    @property
    def local_addr(self) -> SocketAddress:
        """Where it is bound to, with the port that the system chose if none was asked for."""
        addr: SocketAddress = self._infos["sockname"]
        return addr

    def get_protocol(self) -> AnyProtocol:  # type: ignore[override]
        return self._protocol

    def set_protocol(self, protocol: AnyProtocol) -> None:  # type: ignore[override]
        """The datagrams that follow go to this protocol.

        Raises `TypeError` unless it is a `UdpProtocol`, or an asyncio `DatagramProtocol`, whose
        callbacks are plain functions.
        """
        self._check_protocol(protocol)
        self._protocol = protocol
        received = getattr(protocol, "trains_received", UdpProtocol.trains_received)
        self._takes_trains = getattr(received, "__func__", received) is not (
            UdpProtocol.trains_received
        )

    def _kind_of(self, protocol: object) -> type:
        if isinstance(protocol, asyncio.DatagramProtocol):
            return asyncio.DatagramProtocol
        return self._protocol_kind

    def _label(self) -> object:
        return self.local_addr

    # From the socket to the protocol.

    def pause_reading(self) -> None:
        """Deliver nothing more; the socket's buffer then fills, and the kernel drops."""
        if self.is_reading():
            self._paused = True
            self._unwatch_readable()

    def _resume(self) -> None:
        if self.is_reading():
            self._watch_readable()

    def _deliver(self, datagrams: list[Datagram]) -> None:
        """Give the protocol at least one datagram."""
        self._hand_over(self._give, datagrams)

    def _deliver_trains(self, trains: list[DatagramTrain]) -> None:
        """The same as trains, for which the protocol asks."""
        self._hand_over(functools.partial(self._call, "trains_received"), trains)

    def _flush_tick(self) -> None:
        """The delivery is over that the native port began."""
        flush_since(self._tick, 0)

    def _hand_over(self, give: Callable[[list[Any]], None], received: list[Any]) -> None:
        """Give the protocol what was received, then flush what it wrote, wherever."""
        tick = self._tick
        outer = len(tick)
        tick.append(self)
        try:
            self._scheduled = True
            give(received)
        finally:
            flush_since(tick, outer)

    def _give(self, datagrams: list[Datagram]) -> None:
        if isinstance(self._protocol, asyncio.DatagramProtocol):
            self._give_each(datagrams)
        elif self._takes_trains:
            trains = [
                DatagramTrain(data, 0, addr, local, ecn) for data, addr, local, ecn in datagrams
            ]
            self._call("trains_received", trains)
        else:
            self._call("datagrams_received", datagrams)

    def _give_each(self, datagrams: list[Datagram]) -> None:
        """As asyncio's own transport does: none after `close`, and each to the protocol it has."""
        for number, (data, addr, _, _) in enumerate(datagrams):
            if self._closing:
                self.counters.dropped_received += len(datagrams) - number
                return
            if not isinstance(self._protocol, asyncio.DatagramProtocol):
                self._give(datagrams[number:])
                return
            self._call("datagram_received", data, addr)

    # From the protocol to the socket.

    def sendto(  # type: ignore[override]
        self,
        data: bytes | bytearray | memoryview,
        addr: SocketAddress | None = None,
        *,
        local: str | None = None,
        ecn: int = 0,
    ) -> None:
        """Send one datagram; it leaves at the end of the tick, together with others.

        `addr` is a numeric address, None where the endpoint is connected. `local`
        is the address of this host to send from (a `Datagram`'s, to answer from
        where one was asked), `ecn` the ECN field of the IP header; a system that
        lacks the means ignores both. Mutable buffers are copied. Never blocks:
        what is dropped is counted and reported to `error_received`. After `close`
        datagrams are dropped and counted.

        Raises `ValueError` for impossible addresses, `TypeError` for what is not bytes
        or no address.
        """
        if type(data) is not bytes:
            data = to_bytes(data, self._noun)
        if self._closing:
            self._refuse_late([data])
            return
        self._outbox.run(addr, local, ecn).append(data)
        self._gather(1)

    def sendto_many(
        self,
        data: Iterable[bytes | bytearray | memoryview],
        addr: SocketAddress | None = None,
        *,
        local: str | None = None,
        ecn: int = 0,
    ) -> None:
        """Send datagrams to one place, in order: `sendto` for each."""
        datagrams = [each if type(each) is bytes else to_bytes(each, self._noun) for each in data]
        if self._closing:
            self._refuse_late(datagrams)
            return
        self._outbox.run(addr, local, ecn).extend(datagrams)
        self._gather(len(datagrams))

    def send_train(
        self,
        data: bytes | bytearray | memoryview,
        segment: int,
        addr: SocketAddress | None = None,
        *,
        local: str | None = None,
        ecn: int = 0,
    ) -> None:
        """Send datagrams to one place that stand one behind the other: `sendto` for each.

        Each has `segment` bytes, the last one perhaps less; 0 says that there is one.
        On Linux they are passed on as they are, which spares what each datagram costs.
        Raises `ValueError` for more than 64 datagrams too.
        """
        if type(data) is not bytes:
            data = to_bytes(data, self._noun)
        count = -(-len(data) // segment) if 0 < segment < len(data) else 1
        if not isinstance(count, int):
            raise TypeError(f"a segment is an int, not {type(segment).__name__}")
        if count > SEGMENTS_MAX:
            raise ValueError(f"a train has at most {SEGMENTS_MAX} datagrams, not {count}")
        if self._closing:
            self._refuse_late(cut(data, segment))
            return
        if count == 1:
            self._outbox.run(addr, local, ecn).append(data)
        else:
            self._outbox.train(addr, local, ecn, data, segment)
        self._gather(count)

    def post(self, outgoing: Posted) -> Posted:
        """Send trains to many places now, as far as that is plain; what is left, for `send_train`.

        Each entry is a train, where it goes, the address to send from, and the ECN field.
        """
        return outgoing

    def _gather(self, count: int) -> None:
        """Count the datagrams that were put into the outbox, and see to it that they leave."""
        self._gathered += count
        if self._gathered >= WRITE_BATCH:
            self.flush()
        elif not self._scheduled:
            if self._tick:
                self._tick.append(self)
            else:
                self._loop.call_soon(self._end_of_tick)
            self._scheduled = True  # unless that raised: then the next datagram's sees to it

    def _check(self, addr: SocketAddress | None, local: str | None, ecn: int) -> Way:
        """Raise `ValueError` or `TypeError` for what datagrams cannot be sent with."""
        if not (local is None or isinstance(local, str)):
            raise TypeError(f"local is an address in a str, not {local!r}")
        if not isinstance(ecn, int):
            raise TypeError(f"ecn is an int, not {ecn!r}")
        if addr is not None:
            check_types(addr)
        remote = self._remote
        if remote is None:
            if addr is None:
                raise ValueError("the endpoint is not connected: say where to send, with addr")
            to_socket(addr, self._family)
            remote = addr
        elif addr is not None and addr != remote[: len(addr)]:
            raise ValueError(f"the endpoint is connected to {remote}, and sends only there")
        encode(is_v4(remote[0]), local, ecn, 0)
        return addr, local, ecn

    def flush(self) -> None:
        """Hand everything sent so far to the kernel now."""
        if not self._gathered:
            return
        waited = bool(self._backlog)  # order: nothing overtakes what waits
        self._pack()
        self._port.uses += 1
        try:
            if not waited:
                self._write_backlog()
            if self._backlog:
                self._pause_protocol()
        finally:
            self._leave()

    def _pack(self) -> None:
        """What has gathered waits in messages from now on, and is counted."""
        runs = self._outbox.take()
        gathered, self._gathered = self._gathered, 0
        counters = self.counters
        counters.datagrams_sent += gathered
        for _, _, _, datagrams, _ in runs:
            counters.bytes_sent += sum(map(len, datagrams))
        try:
            self._backlog += pack(runs, self.get_extra_info("gso"))
        except BaseException as exc:  # they are gone, which gives memory back
            counters.dropped_sent += gathered
            if not isinstance(exc, MemoryError):
                raise
            self._note_error(exc)

    @property
    def turns(self) -> int:
        return self._turns

    def _end_of_tick(self) -> None:
        self._turns += 1
        self._scheduled = False
        if self._gathered:
            self.flush()

    def _write_backlog(self) -> None:
        """Send what waits, as far as the socket takes it."""
        while self._backlog:
            try:
                self._send(self._backlog)
                break
            except OSError as exc:
                self._end(exc)
                break
            except Exception as exc:  # no check foresaw it: it costs the message that raised
                self.counters.dropped_sent += self._backlog.pop(0).number
                self._note_error(exc)
        if self._backlog and not self._finished:
            self._watch_writable()
        if self._errors:
            self._report_errors()

    def _has_backlog(self) -> bool:
        return bool(self._backlog)

    def get_write_buffer_size(self) -> int:
        """Datagrams that wait for the end of the tick or for the socket."""
        return self._gathered + sum(message.number for message in self._backlog)

    def _refuse_late(self, datagrams: list[bytes]) -> None:
        self._warn_late()
        self.counters.datagrams_sent += len(datagrams)
        self.counters.bytes_sent += sum(map(len, datagrams))
        self.counters.dropped_sent += len(datagrams)

    # The end.

    def is_closing(self) -> bool:
        return self._closing

    def _stop(self) -> None:
        self._closing = True

    def _drop(self) -> None:
        self._pack()
        self.counters.dropped_sent += self.get_write_buffer_size()
        self._backlog.clear()

    def _abandon(self) -> None:
        self._sock.close()

    # Errors.

    def _note_error(self, exc: Exception) -> None:
        """Report the error once for each kind, when the call that is under way has ended."""
        self._errors.setdefault(str(exc), exc)

    def _report_errors(self) -> None:
        errors, self._errors = self._errors, {}
        for exc in errors.values():
            self._call("error_received", exc)

    # How a subclass moves datagrams. It calls `_deliver` and `_write_ready`, always from
    # the loop.

    @abstractmethod
    def _send(self, messages: list[Message]) -> None:
        """Send messages, in order; what the socket does not take for now stays in the list.

        Raises `OSError` for a descriptor that is none any more. Another exception is
        about the first message that is left in the list.
        """
