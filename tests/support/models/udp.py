"""MODEL of the UDP sockets of macOS and the BSDs: a Linux one with their control messages."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from aiotun.platforms.bsd.headers.common import (
    IP_TOS,
    IPV6_PKTINFO,
    cmsghdr,
    iovec,
    sockaddr_in,
    sockaddr_in6,
)
from aiotun.udp import bsd, endpoint, mmsg, sockets
from aiotun.udp import cmsg as linux

V4, V6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6


class ModelUdpSocket(socket.socket):
    __slots__ = ()
    headers: ClassVar[ModuleType]

    @classmethod
    def of(cls, sock: socket.socket, headers: ModuleType) -> None:
        """Make a Linux socket one."""
        body = {"headers": headers, "__slots__": ()}
        sock.__class__ = type(cls.__name__, (cls,), body)

    def _options(self) -> dict[tuple[int, int], tuple[int, int]]:
        h = self.headers
        known = {
            (V4, getattr(h, "IP_RECVDSTADDR", -1)): (V4, linux.IP_PKTINFO),
            (V4, getattr(h, "IP_PKTINFO", -2)): (V4, linux.IP_PKTINFO),
            (V4, getattr(h, "IP_RECVTOS", -3)): (V4, linux.IP_RECVTOS),
            (V6, h.IPV6_RECVPKTINFO): (V6, linux.IPV6_RECVPKTINFO),
            (V6, h.IPV6_RECVTCLASS): (V6, linux.IPV6_RECVTCLASS),
        }
        return {key: value for key, value in known.items() if key[1] > 0}

    def setsockopt(self, level: int, option: int, value: Any, *more: Any) -> None:
        if level in (V4, V6):
            if (level, option) not in self._options():
                raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
            level, option = self._options()[level, option]
        super().setsockopt(level, option, value, *more)

    def recvmsg(self, size: int, room: int = 0, flags: int = 0) -> Any:
        data, ancillary, flags, source = super().recvmsg(size, room, flags)
        return data, [each for one in ancillary for each in self._given(*one)], flags, source

    def _given(self, level: int, kind: int, data: bytes) -> list[linux.ControlMessage]:
        h = self.headers
        if (level, kind) == (V4, linux.IP_PKTINFO):
            if hasattr(h, "IP_RECVDSTADDR"):
                return [(V4, h.IP_RECVDSTADDR, data[8:12])]
            return [(V4, h.IP_PKTINFO, data[:4] + bytes(4) + data[8:12])]
        if (level, kind) == (V4, linux.IP_TOS):
            return [(V4, h.IP_RECVTOS, data[:1])]
        if (level, kind) == (V6, linux.IPV6_PKTINFO):
            return [(V6, IPV6_PKTINFO, data)]
        assert (level, kind) == (V6, linux.IPV6_TCLASS)
        return [(V6, h.IPV6_TCLASS, data)]

    def sendmsg(self, buffers: Any, ancillary: Any = (), *more: Any) -> int:
        taken = [self._taken(*each) for each in ancillary]
        return super().sendmsg(buffers, taken, *more)

    def _taken(self, level: int, kind: int, data: bytes) -> linux.ControlMessage:
        h = self.headers
        any_address = self.getsockname()[0] in ("0.0.0.0", "::")
        if (level, kind) == (V4, getattr(h, "IP_SENDSRCADDR", -1)) and len(data) == 4:
            assert any_address, "EINVAL: it is bound to an address"
            return V4, linux.IP_PKTINFO, struct.pack("=i4s4s", 0, data, bytes(4))
        if (level, kind) == (V4, getattr(h, "IP_PKTINFO", -1)) and len(data) == 12:
            return V4, linux.IP_PKTINFO, data
        if (level, kind) == (V6, IPV6_PKTINFO) and len(data) == 20:
            if data.startswith(linux.V4_MAPPED):
                return V4, linux.IP_PKTINFO, struct.pack("=i4s4s", 0, data[12:16], bytes(4))
            return V6, linux.IPV6_PKTINFO, data
        if (level, kind) == (V4, IP_TOS) and hasattr(h, "IP_RECVTOS"):
            return V4, linux.IP_TOS, data
        if (level, kind) == (V6, h.IPV6_TCLASS):
            return V6, linux.IPV6_TCLASS, data
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def use_sockets_of(
    headers: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[int, Any, int], int] | None = None,
) -> list[int]:
    """Let UDP endpoints be that system's. Returns how many each call received that receives many;
    with `call` that one is tried first, and has to be right."""
    received: list[int] = []

    async def open_socket(*arguments: Any) -> socket.socket:
        sock = await sockets.open_socket(*arguments)
        ModelUdpSocket.of(sock, headers)
        return sock

    def model_socket(family: int, kind: int) -> socket.socket:
        sock = socket.socket(family, kind)
        ModelUdpSocket.of(sock, headers)
        return sock

    def checked_call() -> mmsg.Call:
        if call is not None:
            mmsg.check_call(headers, call, model_socket)
        return counted

    def counted(fd: int, messages: Any, count: int) -> int:
        received.append((call or receive_many(headers))(fd, messages, count))
        return received[-1]

    platform = headers.__name__.rpartition(".")[2]
    monkeypatch.setattr(endpoint, "sys", SimpleNamespace(platform=platform))
    monkeypatch.setattr(endpoint, "open_socket", open_socket)
    for module in bsd, mmsg:
        monkeypatch.setattr(module, "headers_here", lambda: headers)
    monkeypatch.setattr(mmsg, "checked_call", checked_call)
    return received


def receive_many(headers: ModuleType) -> Callable[[int, Any, int], int]:
    """MODEL of recvmsg_x, or of recvmmsg(2): it fills the structs of that system."""
    extended = hasattr(headers, "msghdr_x")

    def call(fd: int, messages: Any, count: int) -> int:
        with socket.socket(fileno=os.dup(fd)) as sock:
            ModelUdpSocket.of(sock, headers)
            sock.setblocking(False)
            for at in range(count):
                try:
                    receive(sock, messages[at], messages[at] if extended else messages[at].msg_hdr)
                except BlockingIOError:
                    if at:
                        return at
                    raise
        return count

    def receive(sock: socket.socket, message: Any, head: Any) -> None:
        assert head.msg_iovlen == 1
        assert head.msg_flags == 0
        part = iovec.from_address(head.msg_iov)
        data, ancillary, _, source = sock.recvmsg(part.iov_len, head.msg_controllen)
        ctypes.memmove(part.iov_base, data, len(data))
        name = _sockaddr(source, headers)
        assert head.msg_namelen == len(name)
        ctypes.memmove(head.msg_name, name, len(name))
        control = b"".join(_control(*each) for each in ancillary)
        assert len(control) <= head.msg_controllen
        ctypes.memmove(head.msg_control, control, len(control))
        if extended:  # msg_controllen stays as it was, as on macOS 10.15
            message.msg_datalen = len(data)
        else:
            head.msg_controllen = len(control)
            message.msg_len = len(data)

    return call


def _sockaddr(source: Any, headers: ModuleType) -> bytes:
    host, port, *more = source
    if not more:
        v4 = sockaddr_in(16, socket.AF_INET, socket.htons(port))
        v4.sin_addr[:] = socket.inet_pton(socket.AF_INET, host)
        return bytes(v4)
    v6 = sockaddr_in6(28, headers.AF_INET6, socket.htons(port), socket.htonl(more[0]))
    v6.sin6_addr[:] = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    v6.sin6_scope_id = more[1]
    return bytes(v6)


def _control(level: int, kind: int, data: bytes) -> bytes:
    head = bytes(cmsghdr(socket.CMSG_LEN(len(data)), level, kind))
    padded = head.ljust(socket.CMSG_LEN(0), b"\0") + data
    return padded.ljust(socket.CMSG_SPACE(len(data)), b"\0")
