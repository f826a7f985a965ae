"""A UDP socket of macOS and the BSDs: its datagrams with their local address and ECN field.

Their control messages differ in numbers and forms (ip(4), ip6(4) of each). NetBSD and OpenBSD
have none for the ECN field of IPv4.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address
from socket import AF_INET6, IPPROTO_IP, IPPROTO_IPV6
from types import ModuleType
from typing import TYPE_CHECKING

from ..platforms.bsd.headers.common import IP_TOS, IPV6_PKTINFO
from .address import MAPPED, from_socket, is_v4, peer_name, to_socket
from .cmsg import ControlMessage
from .messages import Message
from .protocol import Datagram, DatagramTrain, UdpCounters

if TYPE_CHECKING:
    from .mmsg import Receiver

__all__ = ["BsdUdpSocket", "decode", "encode", "headers_here"]

RECEIVE_MAX = 65_536
ANCILLARY_MAX = 128

CLOSED = frozenset({errno.EBADF, errno.ENOTSOCK})
"""What a descriptor gives that somebody else has closed."""

TOLD_BY_ICMP = frozenset({errno.ECONNREFUSED, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.EMSGSIZE})
"""What a connected socket is told of (inetctlerrmap in netinet/ip_input.c of each system)."""

INT = struct.Struct("=i")

PKTINFO = struct.Struct("=i4s4s")
"""struct in_pktinfo: interface, local address, destination in the header."""

PKTINFO6 = struct.Struct("=16si")
"""struct in6_pktinfo: address, interface."""


def headers_here() -> ModuleType:
    """What this system's headers declare."""
    from ..platforms.bsd.headers import darwin, freebsd, netbsd, openbsd

    for headers in (darwin, netbsd, openbsd):
        if sys.platform.startswith(headers.__name__.rpartition(".")[2]):
            return headers
    return freebsd


def decode(messages: Iterable[ControlMessage], headers: ModuleType) -> tuple[str | None, int]:
    """The local address and the ECN field in the control messages of one `recvmsg`.

    Those that are unknown or too short count not.
    """
    local, ecn = None, 0
    to_address = getattr(headers, "IP_RECVDSTADDR", None)
    packet_info = getattr(headers, "IP_PKTINFO", None)
    for level, kind, data in messages:
        if level == IPPROTO_IP:
            if kind == to_address and len(data) >= 4:
                local = _host(data[:4])
            elif kind == packet_info and len(data) >= PKTINFO.size:
                local = _host(data[8:12])
            elif kind == getattr(headers, "IP_RECVTOS", None) and data:
                ecn = data[0] & 3
        elif level == IPPROTO_IPV6:
            if kind == IPV6_PKTINFO and len(data) >= PKTINFO6.size:
                local = _host(data[:16])
            elif kind == headers.IPV6_TCLASS and len(data) >= INT.size:
                ecn = INT.unpack_from(data)[0] & 3
    return local, ecn


@lru_cache(maxsize=256)
def _host(address: bytes) -> str:
    return str(ip_address(address)) if len(address) == 4 else _host6(address)


def _host6(address: bytes) -> str:
    host = ip_address(address)
    mapped = getattr(host, "ipv4_mapped", None)
    return str(host if mapped is None else mapped)


@lru_cache(maxsize=1024)
def encode(
    dual: bool, v4: bool, local: str | None, ecn: int, headers: ModuleType
) -> tuple[ControlMessage, ...]:
    """The control messages for a datagram to an IPv4 (else IPv6) address.

    `dual` says that it is sent by a socket of IPv6, IPv4 as well: that takes addresses in
    their mapped form. What the system has no message for is left out.
    """
    messages: list[ControlMessage] = []
    if local is not None:
        packed = ip_address(f"{MAPPED}{local}" if v4 and dual else local).packed
        if dual or not v4:
            messages.append((IPPROTO_IPV6, IPV6_PKTINFO, PKTINFO6.pack(packed, 0)))
        elif hasattr(headers, "IP_SENDSRCADDR"):
            messages.append((IPPROTO_IP, headers.IP_SENDSRCADDR, packed))
        else:
            data = PKTINFO.pack(0, packed, bytes(4))
            messages.append((IPPROTO_IP, headers.IP_PKTINFO, data))
    if ecn and not v4:
        messages.append((IPPROTO_IPV6, headers.IPV6_TCLASS, INT.pack(ecn)))
    elif ecn and not dual and hasattr(headers, "IP_RECVTOS"):
        messages.append((IPPROTO_IP, IP_TOS, INT.pack(ecn)))
    return tuple(messages)


class BsdUdpSocket:
    """Sends and receives datagrams; never blocks. What the kernel refuses is counted and told.

    A datagram is a call, unless a `Receiver` receives many.
    """

    gso = gro = False

    def __init__(
        self,
        sock: socket.socket,
        counters: UdpCounters,
        report: Callable[[OSError], None],
        headers: ModuleType | None = None,
        receiver: Receiver | None = None,
    ) -> None:
        self._sock = sock
        self._receiver = receiver
        self._counters = counters
        self._report = report
        self._headers = headers = headers or headers_here()
        self._family = int(sock.family)
        self._v6 = self._family == AF_INET6
        self._remote = peer_name(sock)
        self._any = ip_address(sock.getsockname()[0].partition("%")[0]).is_unspecified
        """Whether it is bound to no address: only then the source can be chosen."""
        if self._v6:
            sock.setsockopt(IPPROTO_IPV6, headers.IPV6_RECVPKTINFO, 1)
            sock.setsockopt(IPPROTO_IPV6, headers.IPV6_RECVTCLASS, 1)
        else:
            option = getattr(headers, "IP_RECVDSTADDR", None) or headers.IP_PKTINFO
            sock.setsockopt(IPPROTO_IP, option, 1)
            if hasattr(headers, "IP_RECVTOS"):
                with suppress(OSError):  # macOS before 10.14
                    sock.setsockopt(IPPROTO_IP, headers.IP_RECVTOS, 1)

    def receive(self, limit: int) -> list[Datagram]:
        """At most so many of the datagrams that wait, oldest first; empty if none.

        Raises `OSError` for a descriptor that is none any more.
        """
        datagrams: list[Datagram] = []
        error = self._receive_many(datagrams, limit) if self._receiver else None
        while len(datagrams) < limit:
            try:
                data, ancillary, _, source = self._sock.recvmsg(RECEIVE_MAX, ANCILLARY_MAX)
            except BlockingIOError:
                break
            except OSError as exc:
                if exc.errno in CLOSED:
                    raise
                error = exc
                break
            local, ecn = decode(ancillary, self._headers)
            datagrams.append(Datagram(data, from_socket(source), local, ecn))
        if error:
            self._report(error)  # of an earlier datagram: it is told once
        counters = self._counters
        counters.datagrams_received += len(datagrams)
        counters.messages_received += len(datagrams)
        counters.bytes_received += sum(len(datagram.data) for datagram in datagrams)
        return datagrams

    def _receive_many(self, datagrams: list[Datagram], limit: int) -> OSError | None:
        """Add what a call for many receives; the error that it ended with.

        `recvmsg` is asked afterwards in any case. Older NetBSDs keep such an error, that none
        wait included: the socket is readable until another call has told it (so_error in
        sys/kern/uipc_syscalls.c).
        """
        assert self._receiver is not None
        try:
            datagrams += self._receiver.receive(self._sock.fileno(), limit)
        except BlockingIOError:
            return None
        except OSError as exc:
            return exc
        return None

    def receive_trains(self, limit: int) -> list[DatagramTrain]:
        """The same, each as a train of one."""
        return [
            DatagramTrain(data, 0, addr, local, ecn)
            for data, addr, local, ecn in self.receive(limit)
        ]

    def send(self, messages: list[Message]) -> None:
        """Send messages of one datagram each, in order; what the kernel does not take for now
        stays in the list. Raises `OSError` for a descriptor that is none any more."""
        done = 0
        try:
            for message in messages:
                try:
                    self._send(message)
                except BlockingIOError:
                    break
                except OSError as exc:
                    if exc.errno in CLOSED:
                        raise
                    if exc.errno == errno.ENOBUFS:
                        exc = OSError(exc.errno, f"a datagram was lost: {os.strerror(exc.errno)}")
                    self._counters.dropped_sent += 1
                    self._report(exc)
                done += 1
        finally:
            del messages[:done]

    def _send(self, message: Message) -> None:
        """Where the socket is connected, ICMP's error may be of an earlier datagram: try again."""
        addr, local, ecn, datagrams, _ = message
        v4 = is_v4((addr or self._remote or [""])[0])
        ancillary = encode(self._v6, v4, local if self._any else None, ecn, self._headers)
        to = () if addr is None or self._remote else (0, to_socket(addr, self._family))
        try:
            self._sock.sendmsg(datagrams, ancillary, *to)
        except OSError as exc:
            if not self._remote or exc.errno not in TOLD_BY_ICMP:
                raise
            self._report(exc)
            self._sock.sendmsg(datagrams, ancillary, *to)
        self._counters.messages_sent += 1
