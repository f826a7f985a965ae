"""SuperPacket: a frame that is handed on as the kernel made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import backend
from .virtio import VirtioNetHeader

if TYPE_CHECKING:
    from ..config import Layer

__all__ = ["SuperPacket"]


class SuperPacket:
    """A virtio_net_hdr and its packet, in one frame.

    Many segments of one flow, or an ordinary packet (gso_type NONE). Nothing is
    checked here: `header.check(packet, layer)` and `split(layer)` do that.
    """

    __slots__ = ("_frame",)

    def __init__(self, frame: bytes) -> None:
        """Raises `TypeError` for a frame that is not bytes."""
        if not isinstance(frame, bytes):
            raise TypeError(f"a frame is bytes, not {type(frame).__name__}")
        self._frame = frame

    @property
    def frame(self) -> bytes:
        """What is read from and written to a device."""
        return self._frame

    @property
    def header(self) -> VirtioNetHeader:
        """Raises `FrameTooShortError`."""
        return VirtioNetHeader.unpack(self._frame)

    @property
    def packet(self) -> bytes:
        """The bytes after the header; their checksum may be partial."""
        return self._frame[VirtioNetHeader.SIZE :]

    def split(self, layer: Layer = "tun") -> list[bytes]:
        """The packets it stands for: `gso_split` of the frame. Raises `OffloadError`."""
        return backend.gso_split(self._frame, layer)

    def __len__(self) -> int:
        """Bytes of the packet."""
        return max(0, len(self._frame) - VirtioNetHeader.SIZE)

    def __eq__(self, other: object) -> bool:
        return self._frame == other._frame if isinstance(other, SuperPacket) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._frame)

    def __repr__(self) -> str:
        header = self._frame[: VirtioNetHeader.SIZE].hex()
        return f"<SuperPacket of {len(self)} bytes, header {header}>"
