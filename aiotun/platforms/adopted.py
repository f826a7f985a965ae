"""A descriptor that somebody else opened, of which nothing is known but how its frames look.

What a phone's VPN service or another process hands over.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno
import os
import socket
import struct
from typing import NoReturn

from ..addresses import Address
from ..config import Layer
from ..errors import InterfaceGoneError, PacketError, UnsupportedError
from ..interfaces import Event, InterfaceStatistics
from ..interrupt import Interrupt
from .base import EventSource, Framing, Interface
from .descriptor import FRAME_MAX, DescriptorQueue

__all__ = ["FdInterface", "FdQueue"]

ETHERTYPES = {4: 0x0800, 6: 0x86DD}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class FdQueue(DescriptorQueue):
    """Adds and removes what the framing says."""

    def __init__(self, fd: int, layer: Layer, framing: Framing, closefd: bool) -> None:
        super().__init__(fd, closefd)
        self.layer = layer
        self.vnet_hdr = self.tcp_offload = self.udp_offload = framing == "vnet"
        self._datagrams = _is_datagram_socket(fd)
        self._bare = framing in ("none", "vnet")
        self.direct = self._bare and not self._datagrams  # native code takes nothing for the end
        self._framing = framing
        os.set_blocking(fd, False)

    def read(self) -> bytes:
        try:
            frame = os.read(self._fd, FRAME_MAX)
        except ConnectionError as exc:
            raise _gone() from exc
        if not (frame or self._datagrams):  # an empty datagram ends nothing
            raise _gone()
        return frame if self._bare else frame[4:]

    def write(self, frame: bytes) -> None:
        try:
            os.write(self._fd, frame if self._bare else self._header(frame) + frame)
        except OSError as exc:
            # A datagram socket of the UNIX family says ENOTCONN from the second time on.
            if isinstance(exc, ConnectionError) or exc.errno == errno.ENOTCONN:
                raise _gone() from exc
            raise

    def _header(self, packet: bytes) -> bytes:
        if self._framing == "pi" and self.layer == "tap":
            return packet[12:14].rjust(4, b"\0")  # the frame's own type
        version = packet[0] >> 4
        if version not in FAMILIES:
            raise PacketError(errno.EINVAL, "a packet was dropped: it is no IP packet")
        if self._framing == "pi":
            return struct.pack("!HH", 0, ETHERTYPES[version])
        return struct.pack("!I", FAMILIES[version])


class FdInterface(Interface):
    """Unknown: whoever handed the descriptor over configures the interface."""

    index = 0
    is_up = True

    def __init__(self, fd: int, mtu: int) -> None:
        self._name = f"fd{fd}"
        self._mtu = mtu
        self._events = _NoEvents()

    @property
    def name(self) -> str:
        """A name made of the descriptor: that of the interface is not known."""
        return self._name

    @property
    def mtu(self) -> int:
        return self._mtu

    def set_mtu(self, mtu: int) -> None:
        _unknown()

    def set_up(self, up: bool) -> None:
        _unknown()

    def addresses(self) -> list[Address]:
        _unknown()

    def add_address(self, address: Address) -> None:
        _unknown()

    def remove_address(self, address: Address) -> None:
        _unknown()

    def statistics(self) -> InterfaceStatistics:
        _unknown()

    def events(self) -> EventSource:
        return self._events

    def close(self) -> None:
        self._events.close()


class _NoEvents(EventSource):
    """No event ever comes. It has a descriptor, since a loop watches one."""

    def __init__(self) -> None:
        self._never = Interrupt()

    def fileno(self) -> int:
        return self._never.fileno()

    def read(self) -> list[Event]:
        return []

    def close(self) -> None:
        self._never.close()


def _is_datagram_socket(fd: int) -> bool:
    try:
        sock = socket.socket(fileno=fd)
    except OSError:  # no socket at all
        return False
    kind = sock.type
    sock.detach()
    return kind == socket.SOCK_DGRAM


def _gone() -> InterfaceGoneError:
    return InterfaceGoneError(errno.ENODEV, "the other side closed the descriptor")


def _unknown() -> NoReturn:
    raise UnsupportedError(
        errno.EOPNOTSUPP, "of this device only the descriptor is known: ask whoever handed it over"
    )
