"""A device that is one of a pair of sockets, which keep frames apart as a TUN does."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

import aiotun
from aiotun import packetio
from aiotun.framed import sinks, sources
from aiotun.offload import NO_OFFLOAD
from aiotun.platforms.base import Framing
from aiotun.transports import fastpath

__all__ = ["Far", "close_at_once", "use"]


def use(implementation: str, patch: pytest.MonkeyPatch) -> None:
    """Have the ports and framed ends that are made from now on, and all that they call, in one
    language."""
    if implementation == "python":
        for module in (fastpath, packetio, sinks, sources):
            patch.setattr(module, "native", None)


def close_at_once(transport: aiotun.PacketTransport) -> None:
    """Have it close its device when it releases it, and not in a thread some time later."""

    def close_device() -> asyncio.Future[None]:
        closed = transport._loop.create_future()
        transport._ownership.close()
        closed.set_result(None)
        return closed

    transport._close_device = close_device  # type: ignore[method-assign]


class Far:
    """The far end of a device: what a TUN's kernel would be."""

    def __init__(self, framing: Framing = "vnet") -> None:
        near, self.socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (near, self.socket):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.socket.setblocking(False)
        self.device = aiotun.Device.from_fd(near.detach(), framing=framing)

    def send(self, *packets: bytes) -> None:
        for each in packets:
            self.socket.send(NO_OFFLOAD + each)

    def recv(self) -> list[bytes]:
        """All that the device wrote so far."""
        frames = []
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while frame := self.socket.recv(1 << 17):
                frames.append(frame)
        return frames

    def close(self) -> None:
        self.device._close()
        self.socket.close()
