"""GSO and GRO without a device: splitting and coalescing of frames, bytes in and bytes out."""

from __future__ import annotations

from ..errors import FrameHeaderError, FrameTooShortError, OffloadError
from .checksum import complete_checksum, partial_sum, pseudo_header_sum
from .coalesce import BATCH, is_candidate
from .superpacket import SuperPacket
from .virtio import NO_OFFLOAD, VirtioNetHeader

# isort: split
# Behind the module of that name, in whose place type checkers then have the function.
from .backend import GROTable, checksum, gso_split, implementation

__all__ = [
    "BATCH",
    "NO_OFFLOAD",
    "FrameHeaderError",
    "FrameTooShortError",
    "GROTable",
    "OffloadError",
    "SuperPacket",
    "VirtioNetHeader",
    "checksum",
    "complete_checksum",
    "gso_split",
    "implementation",
    "is_candidate",
    "partial_sum",
    "pseudo_header_sum",
]
