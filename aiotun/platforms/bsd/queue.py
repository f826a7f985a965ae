"""The queue of a tun or tap: a descriptor, and on a tun four bytes in front of each packet."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno

from ...config import Layer
from ...errors import InterfaceDownError, InterfaceGoneError, PacketError, UnsupportedError
from ..base import Framing
from ..descriptor import FRAME_MAX, DescriptorQueue
from .base import System
from .headers.common import AF_INET

__all__ = ["BsdQueue"]


class BsdQueue(DescriptorQueue):
    """One packet a read and a write (tun(4), tap(4)). The family stands in network order."""

    vnet_hdr = tcp_offload = udp_offload = False

    def __init__(
        self,
        system: System,
        fd: int,
        layer: Layer,
        *,
        stays: bool,
        found: bool,
        closefd: bool = True,
    ) -> None:
        """`stays` says whether the interface outlives its descriptor, `found` whether it was
        there before."""
        super().__init__(fd, closefd)
        self.layer = layer
        if not self.vnet_hdr:
            self.direct = 4 if layer == "tun" else 0
        if layer == "tun":
            self.families = AF_INET, system.headers.AF_INET6
        self.stays = stays
        self.destroys = stays and not found
        """Whether closing the queue has to destroy the interface."""
        self.index = 0
        """The interface's index."""
        self._system = system
        self._kernel = system.kernel

    @property
    def framing(self) -> Framing | None:  # type: ignore[override]
        if self.direct is None:  # nor could native code read it
            raise UnsupportedError(
                errno.EOPNOTSUPP, "what this device reads and writes is known to this process alone"
            )
        return "family" if self.families else "none"

    @property
    def persistent(self) -> bool:
        return self.stays and not self.destroys

    def read(self) -> bytes:
        try:
            frame = self._kernel.read(self._fd, FRAME_MAX)
        except OSError as exc:
            self._explain(exc)
            if exc.errno == errno.EHOSTDOWN:  # neither up nor with an address yet
                raise BlockingIOError(errno.EAGAIN, "the interface is not ready") from exc
            raise
        if not frame:
            raise InterfaceGoneError(errno.ENXIO, "the interface was deleted")
        return self._unwrap(frame)

    def write(self, frame: bytes) -> None:
        wrapped = self._wrap(frame)
        try:
            self._kernel.write(self._fd, wrapped)
        except OSError as exc:
            self._explain(exc)
            if exc.errno == errno.EHOSTDOWN:
                raise InterfaceDownError(
                    exc.errno, "the interface is down", remedies=("set it up (Device.up)",)
                ) from exc
            raise

    def _unwrap(self, data: bytes) -> bytes:
        """The frame in what was read."""
        return data[4:] if self.families else data

    def _wrap(self, frame: bytes) -> bytes:
        """What to write for a frame."""
        return self._family(frame) + frame if self.families else frame

    def _family(self, packet: bytes) -> bytes:
        assert self.families is not None
        version = packet[0] >> 4
        if version not in (4, 6):
            raise PacketError(errno.EINVAL, "a packet was dropped: it is no IP packet")
        return self.families[version == 6].to_bytes(4, "big")

    def _explain(self, exc: OSError) -> None:
        """Raise what an error means that ends the queue."""
        if exc.errno in self._system.gone:
            raise InterfaceGoneError(exc.errno or 0, "the interface was deleted") from exc

    def close(self) -> None:
        """The interface is destroyed after its descriptor was closed: FreeBSD waits for that."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._closefd:
            self._kernel.close(fd)
            if self.destroys:
                self._system.destroy(self.index)
