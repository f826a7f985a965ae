"""A device and its far side in the test's hands: a pair of sockets, on Windows rings."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys

import pytest

import aiotun
from aiotun import packetio
from aiotun.framed import sinks, sources
from aiotun.offload import NO_OFFLOAD
from aiotun.platforms.base import Framing
from aiotun.transports import fastpath

__all__ = ["FRAMINGS", "Far", "close_at_once", "use"]


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


def _refuse(frame: bytes) -> None:
    raise OSError(errno.EIO, "of the test")


if sys.platform == "win32":
    import ctypes

    import standin

    _allocate = ctypes.WINFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32)
    _no_room = _allocate(lambda session, size: None)  # in the place of WintunAllocateSendPacket

    FRAMINGS: list[Framing] = ["none"]
    """What may stand in front of packets here."""

    RING_MIN = 1 << 17
    PACKET_MAX = 0xFFFF

    class Far:
        """The other side of a ring. Whoever takes packets for a TUN's frames gets them with the
        header that says nothing."""

        def __init__(self, framing: Framing = "vnet", room: int = 1 << 20) -> None:
            if framing not in ("vnet", "none"):
                pytest.skip("nothing stands in front of the packets in a ring")
            self._header = NO_OFFLOAD if framing == "vnet" else b""
            with contextlib.ExitStack() as stack:
                library = stack.enter_context(standin.open_standin())
                options = {"ring_capacity": max(room, RING_MIN)}
                self.device = aiotun.Device(**standin.configured(windows=options))
                self._ring = standin.Far(library, self.device.name)
                self._stack = stack.pop_all()

        def put(self, frame: bytes) -> None:
            if not frame.startswith(self._header):
                pytest.skip("a ring has no super-packets, and no headers to be broken")
            packet = frame[len(self._header) :]
            if len(packet) > PACKET_MAX or not self._ring.push(packet):
                raise BlockingIOError(errno.EAGAIN, "too large, or the ring is full or closed")
            # The loop's next turn reads it. A thread of the system tells so too, some time later.
            self.device.queue.on_readable()  # type: ignore[attr-defined]

        def send(self, *packets: bytes) -> None:
            for each in packets:
                self.put(self._header + each)

        def recv(self) -> list[bytes]:
            frames = []
            with contextlib.suppress(TimeoutError):
                while True:
                    frames.append(self._header + self._ring.pull())
            return frames

        def refuse(self) -> None:
            ring = self.device.queue._ring  # type: ignore[attr-defined]
            ring.allocate = ctypes.cast(_no_room, ctypes.c_void_p).value
            self.device.queue.write = _refuse  # type: ignore[method-assign]

        def close(self) -> None:
            self.device._close()
            self._stack.close()

else:
    FRAMINGS = ["vnet", "none", "pi", "family"]

    class Far:
        """The far end of a device: what a TUN's kernel would be. The sockets keep frames apart."""

        def __init__(self, framing: Framing = "vnet", room: int = 1 << 20) -> None:
            """With room for so many bytes each way."""
            near, self.socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            for end in (near, self.socket):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
            self.socket.setblocking(False)
            self.device = aiotun.Device.from_fd(near.detach(), framing=framing)

        def put(self, frame: bytes) -> None:
            """Let a frame arrive as it stands. Raises `OSError`."""
            self.socket.send(frame)

        def send(self, *packets: bytes) -> None:
            """Let packets arrive, each in a frame of its own."""
            for each in packets:
                self.put(NO_OFFLOAD + each)

        def recv(self) -> list[bytes]:
            """All that the device wrote so far."""
            frames = []
            with contextlib.suppress(BlockingIOError, ConnectionResetError):
                while frame := self.socket.recv(1 << 17):
                    frames.append(frame)
            return frames

        def refuse(self) -> None:
            """Have each write fail from now on."""
            self.socket.shutdown(socket.SHUT_RD)
            self.device.queue.write = _refuse  # type: ignore[method-assign]

        def close(self) -> None:
            self.device._close()
            self.socket.close()
