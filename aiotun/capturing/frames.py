"""What a capture file has of a frame: its packet or packets, with complete checksums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import OffloadError
from ..offload import VirtioNetHeader, gso_split

if TYPE_CHECKING:
    from ..config import Layer

__all__ = ["packets_of"]


def packets_of(
    frame: bytes, layer: Layer, *, split: bool, cut: bool = False
) -> tuple[Sequence[bytes | memoryview], str]:
    """The packets of a virtio_net_hdr and its packet, and what is to be said of them.

    Without `split` a super-packet stays one packet, whose checksum is partial (of the
    pseudo-header alone). A frame that is malformed, or was cut, is shown as it is.
    """
    if not cut and (split or not frame[1:2] > b"\0"):  # gso_type NONE
        try:
            return gso_split(frame, layer), ""
        except OffloadError as exc:
            return [memoryview(frame)[VirtioNetHeader.SIZE :]], f"malformed: {exc}"
    return [memoryview(frame)[VirtioNetHeader.SIZE :]], ""
