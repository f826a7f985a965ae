"""The records of one read from a BPF device (bpf(4), net/bpf.h): bytes in, frames out."""

from __future__ import annotations

from ctypes import sizeof

from ..bsd.headers.darwin import BPF_ALIGNMENT, bpf_hdr

__all__ = ["split_records"]


def split_records(data: bytes) -> list[bytes]:
    """The frames in the order in which they came.

    Each stands behind a header that tells its own length and the frame's; the next begins at a
    multiple of BPF_ALIGNMENT. What contradicts the bytes that are there ends the list.
    """
    frames = []
    at = 0
    while at + bpf_hdr.bh_hdrlen.offset + 2 <= len(data):
        head = bpf_hdr.from_buffer_copy(data[at : at + sizeof(bpf_hdr)].ljust(sizeof(bpf_hdr)))
        start = at + head.bh_hdrlen
        end = start + head.bh_caplen
        if head.bh_hdrlen < bpf_hdr.bh_hdrlen.offset + 2 or end > len(data):
            break
        frames.append(data[start:end])
        at = end + -end % BPF_ALIGNMENT
    return frames
