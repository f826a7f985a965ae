"""A descriptor that somebody else opened, of which nothing is known but how its frames look.

What a phone's VPN service or another process hands over.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno
import os
import socket
from typing import NoReturn

from ..addresses import Address
from ..config import DeviceConfig, Layer
from ..errors import InterfaceDownError, InterfaceGoneError, PacketError, UnsupportedError
from ..interfaces import Event, InterfaceStatistics
from ..interrupt import Interrupt
from .base import EventSource, Framing, Interface
from .descriptor import FRAME_MAX, DescriptorQueue
from .phones import ANDROID

__all__ = ["FdInterface", "FdQueue", "adopt"]

IN_FRONT: dict[Framing, int] = {"none": 0, "vnet": 10, "pi": 4, "family": 4}
"""Bytes in front of a packet."""

FAMILIES: dict[Framing, tuple[int, int]] = {
    "family": (socket.AF_INET, socket.AF_INET6),
    "pi": (0x0800, 0x86DD),  # no flags, and the EtherType: struct tun_pi, linux/if_tun.h
}

GONE = {errno.ENXIO, errno.ENODEV, errno.ENOTCONN, getattr(errno, "EBADFD", errno.ENXIO)}
"""What reading and writing give once an interface was deleted, or its descriptor revoked. A
datagram socket of the UNIX family says ENOTCONN from the second time on."""


def adopt(
    fd: int,
    config: DeviceConfig,
    closefd: bool,
    layer: Layer,
    framing: Framing,
    mtu: int,
    name: str | None = None,
) -> tuple[FdInterface, FdQueue]:
    """The device of a descriptor whose frames look like that."""
    queue = FdQueue(fd, layer, framing, closefd)
    return FdInterface(config, name or f"fd{fd}", mtu, queue), queue


class FdQueue(DescriptorQueue):
    """Adds and removes what the framing says."""

    def __init__(self, fd: int, layer: Layer, framing: Framing, closefd: bool) -> None:
        super().__init__(fd, closefd)
        self.layer = layer
        self.framing = framing
        self.vnet_hdr = self.tcp_offload = self.udp_offload = framing == "vnet"
        self._datagrams = _is_datagram_socket(fd)
        self.families = FAMILIES.get(framing) if layer == "tun" else None
        self._behind_family = IN_FRONT[framing] == 4
        if not self._datagrams and (self.families or not self._behind_family):
            self.direct = IN_FRONT[framing]  # native code takes an empty datagram for the end
        os.set_blocking(fd, False)

    def read(self) -> bytes:
        try:
            frame = os.read(self._fd, FRAME_MAX)
        except OSError as exc:
            if exc.errno == errno.EIO:  # a revoked descriptor, on OpenBSD
                raise _gone() from exc
            _explain(exc)
            raise
        if not (frame or self._datagrams):  # an empty datagram ends nothing
            raise _gone()
        return frame[4:] if self._behind_family else frame

    def write(self, frame: bytes) -> None:
        try:
            os.write(self._fd, self._header(frame) + frame if self._behind_family else frame)
        except OSError as exc:
            if exc.errno == errno.EIO:
                # Android sets the interface down when it takes the VPN away, and nobody
                # sets it up again (reset_interface of its VPN service).
                if ANDROID:
                    raise _gone() from exc
                raise InterfaceDownError(
                    errno.EIO,
                    "the interface is down",
                    remedies=("let whoever handed the descriptor over set it up",),
                ) from exc
            _explain(exc)
            raise

    def _header(self, packet: bytes) -> bytes:
        if self.families is None:
            return packet[12:14].rjust(4, b"\0")  # of struct tun_pi: the frame's own EtherType
        version = packet[0] >> 4
        if version not in (4, 6):
            raise PacketError(errno.EINVAL, "a packet was dropped: it is no IP packet")
        return self.families[version == 6].to_bytes(4, "big")


class FdInterface(Interface):
    """Unknown: whoever handed the descriptor over configures the interface."""

    index = 0

    def __init__(self, config: DeviceConfig, name: str, mtu: int, queue: DescriptorQueue) -> None:
        self.config = config
        self._name = name
        self._mtu = mtu
        self._queue = queue
        self._events = _NoEvents()

    @property
    def name(self) -> str:
        """As it was when the descriptor came; made of its number where the system does not tell."""
        return self._name

    @property
    def mtu(self) -> int:
        return self._mtu

    def set_mtu(self, mtu: int) -> None:
        _unknown()

    @property
    def is_up(self) -> bool:
        """Linux' TUN driver tells by poll(2), whoever asks (tun_chr_poll in drivers/net/tun.c)."""
        return self._queue.is_writable()

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


def _explain(exc: OSError) -> None:
    """Raise `InterfaceGoneError` if that is what the error means."""
    if isinstance(exc, ConnectionError) or exc.errno in GONE:
        raise _gone() from exc


def _gone() -> InterfaceGoneError:
    return InterfaceGoneError(
        errno.ENODEV, "the other side closed the descriptor, or the system took it back"
    )


def _unknown() -> NoReturn:
    raise UnsupportedError(
        errno.EOPNOTSUPP, "of this device only the descriptor is known: ask whoever handed it over"
    )
