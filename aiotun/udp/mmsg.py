"""Many datagrams received in one call: recvmsg_x of macOS, recvmmsg(2) of NetBSD and OpenBSD.

recvmsg_x is private: it and its struct stand in XNU's bsd/sys/socket_private.h alone, "the API is
subject to change". So each process tries the call once, over the loopback, before it is relied on.
FreeBSD's recvmmsg is a loop over recvmsg in its C library (lib/libc/gen/recvmmsg.c).

Datagrams are sent one by one. sendmsg_x is to be given neither addresses nor control messages
(socket_private.h; newer kernels take them), and says how much has left before an error for some
errors alone, on older kernels for none (bsd/kern/uipc_syscalls.c). To fill the structs of
sendmmsg(2) from Python costs more than the calls that it saves.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import ctypes
import errno
import os
import socket
from collections.abc import Callable, Iterator
from ctypes import addressof, sizeof
from functools import lru_cache, partial
from socket import AF_INET, AF_INET6
from types import ModuleType
from typing import Any

from ..errors import UnsupportedError
from ..platforms.bsd.headers.common import cmsghdr, iovec, sockaddr_in, sockaddr_in6
from ..trials import trial
from .address import from_socket
from .bsd import ANCILLARY_MAX, RECEIVE_MAX, BsdUdpSocket, decode, headers_here
from .cmsg import ControlMessage
from .probing import HOST, loopback_pair, what_comes
from .protocol import Datagram, SocketAddress, UdpCounters

__all__ = [
    "Call",
    "Receiver",
    "check_call",
    "checked_call",
    "control_messages",
    "make_receiver",
    "system_call",
]

ROOMS = 32
"""Datagrams in one call. Their room is 2 MiB, of which the system gives what was once in use."""

Call = Callable[[int, Any, int], int]
"""Of a descriptor, an array of headers and their number; how many were received. Raises
`OSError`."""


class Receiver:
    """The room for datagrams of one socket, and the call that fills it."""

    def __init__(self, family: int, headers: ModuleType, call: Call) -> None:
        self._headers = headers
        self._call = call
        extended = hasattr(headers, "msghdr_x")
        self._messages = ((headers.msghdr_x if extended else headers.mmsghdr) * ROOMS)()
        self._length = "msg_datalen" if extended else "msg_len"
        self._heads = [each if extended else each.msg_hdr for each in self._messages]
        self._parts = (iovec * ROOMS)()
        name = sizeof(sockaddr_in if family == AF_INET else sockaddr_in6)
        self._data, data = _rooms(RECEIVE_MAX)
        self._names, names = _rooms(name)
        self._control, control = _rooms(ANCILLARY_MAX)
        for at, head in enumerate(self._heads):
            self._parts[at].iov_base, self._parts[at].iov_len = data[at], RECEIVE_MAX
            head.msg_iov, head.msg_iovlen = addressof(self._parts[at]), 1
            head.msg_name, head.msg_namelen = names[at], name
            head.msg_control, head.msg_controllen = control[at], ANCILLARY_MAX
        self._control_at = control[0]
        self._asked = bytes(self._messages)

    def receive(self, fd: int, limit: int) -> list[Datagram]:
        """At most so many of the datagrams that wait, oldest first. Raises `OSError` if none do."""
        ctypes.memmove(self._messages, self._asked, len(self._asked))
        # macOS 10.15 leaves the length of the control messages as it was: zeros end them.
        ctypes.memset(self._control_at, 0, ROOMS * ANCILLARY_MAX)
        limit = min(limit, ROOMS)
        received = self._call(fd, self._messages, limit)
        # Nobody has promised that it is not more.
        return [self._datagram(at) for at in range(min(received, limit))]

    def _datagram(self, at: int) -> Datagram:
        length: int = getattr(self._messages[at], self._length)
        data = self._data[at][:length].tobytes()
        control = self._control[at][: self._heads[at].msg_controllen].tobytes()
        local, ecn = _decoded(control, self._headers)
        return Datagram(data, _name(self._names[at].tobytes()), local, ecn)


def _rooms(size: int) -> tuple[list[memoryview], list[int]]:
    """ROOMS of so many bytes, and the address of each."""
    buffer = bytearray(ROOMS * size)
    start = addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))
    view = memoryview(buffer)
    places = range(0, len(buffer), size)
    return [view[at : at + size] for at in places], [start + at for at in places]


@lru_cache(maxsize=4096)
def _name(raw: bytes) -> SocketAddress:
    """The address in a sockaddr_in or sockaddr_in6."""
    if len(raw) == sizeof(sockaddr_in):
        v4 = sockaddr_in.from_buffer_copy(raw)
        return socket.inet_ntop(AF_INET, bytes(v4.sin_addr)), socket.ntohs(v4.sin_port)
    v6 = sockaddr_in6.from_buffer_copy(raw)
    host = socket.inet_ntop(AF_INET6, bytes(v6.sin6_addr))
    flow = socket.ntohl(v6.sin6_flowinfo)
    return from_socket((host, socket.ntohs(v6.sin6_port), flow, v6.sin6_scope_id))


@lru_cache(maxsize=256)
def _decoded(control: bytes, headers: ModuleType) -> tuple[str | None, int]:
    return decode(control_messages(control), headers)


def control_messages(
    control: bytes,
    data_at: int = socket.CMSG_LEN(0),
    unit: int = socket.CMSG_SPACE(1) - socket.CMSG_SPACE(0),
) -> Iterator[ControlMessage]:
    """What a buffer of control messages has, up to the first that cannot be.

    `data_at` is where the data of each begins, and `unit` what each begins at a multiple of.
    """
    at = 0
    while at + data_at <= len(control):
        head = cmsghdr.from_buffer_copy(control, at)
        if not data_at <= head.cmsg_len <= len(control) - at:
            return
        yield head.cmsg_level, head.cmsg_type, control[at + data_at : at + head.cmsg_len]
        at += -(-head.cmsg_len // unit) * unit


def system_call() -> Call:
    """This system's. Raises `UnsupportedError` where there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    darwin = sys.platform == "darwin"
    function = getattr(libc, "recvmsg_x" if darwin else "recvmmsg", None)
    if function is None or sys.platform.startswith("freebsd"):
        raise _unsupported("this system has no call that receives many datagrams")
    function.restype = ctypes.c_ssize_t if darwin else ctypes.c_int
    more = (0,) if darwin else (0, None)  # flags, and no time-out

    def call(fd: int, array: Any, count: int) -> int:
        received = int(function(fd, array, count, *more))
        if received < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return received

    return call


def check_call(
    headers: ModuleType, call: Call, kind: Callable[[int, int], socket.socket] = socket.socket
) -> None:
    """Receive two datagrams over the loopback by that call.

    Raises `UnsupportedError` unless they come as they were sent.
    """
    try:
        with loopback_pair(kind) as (near, far):
            BsdUdpSocket(near, UdpCounters(), lambda exc: None, headers)  # asks for local addresses
            sent = [b"first", b"the second"]
            for data in sent:
                far.sendto(data, near.getsockname())
            source = (HOST, far.getsockname()[1])
            expected = [Datagram(data, source, HOST, 0) for data in sent]
            receive = partial(Receiver(AF_INET, headers, call).receive, near.fileno(), ROOMS)
            received = what_comes(near, receive, len(sent))
    except OSError as exc:
        raise _unsupported(f"the call that receives many datagrams fails here: {exc}") from exc
    if received != expected:
        raise _unsupported("the call that receives many datagrams works otherwise here")


def _unsupported(reason: str) -> UnsupportedError:
    return UnsupportedError(errno.EOPNOTSUPP, reason, remedies=("leave receive_many=True out",))


@trial
def checked_call() -> Call:
    """This system's, tried once. Raises `UnsupportedError`."""
    call = system_call()
    check_call(headers_here(), call)
    return call


def make_receiver(family: int, required: bool | None) -> Receiver | None:
    """One for sockets of that family; None where there is none, unless it is required.

    Raises `UnsupportedError`.
    """
    try:
        call = checked_call()
    except UnsupportedError:
        if required:
            raise
        return None
    return Receiver(family, headers_here(), call)
