"""CaptureFile: packets of one interface as pcapng, in a file or in a ring of files."""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from mmap import mmap
from pathlib import Path
from time import monotonic
from typing import BinaryIO

from ..cancelling import Closing
from ..codecs.pcapng_blocks import (
    UINT32_MAX,
    enhanced_packet,
    interface_description,
    interface_statistics,
    section_header,
)
from ..errors import ConfigError
from ..kinds import check_kind
from ..native import native

__all__ = ["CaptureFile", "Ring", "Target"]

BUFFER = 1 << 18
"""Bytes of packets that gather for one call. Larger pieces are written without being copied."""

Target = str | os.PathLike[str] | BinaryIO
"""The path of a file that is made or replaced, or a binary file that is open and stays so."""


@dataclass(frozen=True)
class Ring:
    """When to go on with a new file, and how many to keep.

    The files are named as dumpcap(1) names them: of `x.pcapng`, the third is
    `x_00003_20261129131500.pcapng`. Each can be read alone.

    size: Bytes after which a file ends.
    seconds: Time after which a file ends, whatever becomes of the system's clock meanwhile.
    files: How many stay: the oldest is removed for a new one. None: all of them.

    Raises `ConfigError` for a number below one, and without a size and a time.
    """

    size: int | None = None
    seconds: float | None = None
    files: int | None = None

    def __post_init__(self) -> None:
        if self.size is None and self.seconds is None:
            raise ConfigError("a ring of files takes a size or a time after which a file ends")
        for name in ("size", "seconds", "files"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} of a ring must be above 0, not {value}")


class CaptureFile(Closing):
    """Writes packets, `count` of them at most, and at the end how many were lost.

    Any thread may write. Raises `OSError` of the file, `ConfigError` for a ring without a path and
    for a snap length that a file cannot tell.
    """

    def __init__(
        self,
        target: Target,
        link_type: int,
        *,
        name: str,
        snap_length: int,
        filter: str = "",
        ring: Ring | None = None,
        count: int | None = None,
    ) -> None:
        if snap_length > UINT32_MAX:
            raise ConfigError(f"the snap length is at most {UINT32_MAX}, not {snap_length}")
        if ring is not None:
            check_kind(ring, "ring=", Ring)
        if not isinstance(target, str | os.PathLike) and not hasattr(target, "write"):
            raise TypeError(f"a file is a path or open for writing, not {type(target).__name__}")
        self._head = section_header(
            application=_application(),
            system=f"{platform.system()} {platform.release()}",
        ) + interface_description(link_type, snap_length, name=name, filter=filter)
        self.snap_length = snap_length
        self.written = 0
        """Packets, in all files. Once it is closed, those that the files took for sure."""
        self._flushed = 0
        """Those of them that left the buffer."""
        self._count = count
        self._ring = ring
        self._lock = threading.Lock()
        self._start = time.time_ns()
        self._told = 0, 0
        """Packets that came, and that were lost, as the statistics in the file have it."""
        self._number = 0
        self._kept: deque[Path] = deque()
        self._path: Path | None = None
        if isinstance(target, str | os.PathLike):
            self._path = Path(target)
            self._file = self._next_file()
        elif ring is not None:
            raise ConfigError("a ring of files takes a path, not an open file")
        else:
            self._file = target
        try:
            self._begin()
        except BaseException:
            self._give_up()
            raise

    def _next_file(self) -> BinaryIO:
        path = self._path
        assert path is not None
        if self._ring is not None:
            self._number += 1
            stamp = time.strftime("%Y%m%d%H%M%S")
            path = path.with_name(f"{path.stem}_{self._number:05}_{stamp}{path.suffix}")
        file = open(path, "wb", buffering=BUFFER)  # noqa: SIM115, the caller closes it
        self._kept.append(path)
        if self._ring is not None and self._ring.files is not None:
            while len(self._kept) > self._ring.files:
                self._kept.popleft().unlink(missing_ok=True)
        return file

    def _begin(self) -> None:
        self._file.write(self._head)
        self._flush()
        self._size = len(self._head)
        self._begun = monotonic()

    @property
    def full(self) -> bool:
        """Whether no more packets are written."""
        return self._count is not None and self.written >= self._count

    def write(
        self,
        packet: bytes | memoryview,
        time: int,
        *,
        cut: int = 0,
        direction: int = 0,
        comment: str = "",
    ) -> None:
        """Write one packet, of which `cut` bytes are missing, unless the file is full.

        It is cut to the snap length.
        """
        data = packet[: self.snap_length]
        original = len(packet) + cut
        parts = enhanced_packet(data, time, original, direction=direction, comment=comment)
        size = sum(map(len, parts))
        with self._lock:
            if self.full:
                return
            if self._ring is not None:
                self._turn(self._ring, size)
            self._file.writelines(parts)
            self._size += size
            self.written += 1

    def write_captured(self, memory: mmap | bytearray, at: int, left: int) -> tuple[int, int]:
        """Write packets of a `PacketRing`, none above the snap length, as far as C does that.

        Takes and returns what `linux.Take` says. To be called on Linux, where C does it.
        """
        if native is None:
            return at, left
        with self._lock:
            most, room = left, sys.maxsize
            if self._count is not None:
                most = min(left, self._count - self.written)
            if self._ring is not None and self._is_old(self._ring):
                room = 0
            elif self._ring is not None and self._ring.size is not None:
                room = min(room, max(0, self._ring.size - self._size))
            blocks, packets, at = native.captured_packets(memory, at, most, room)
            self._file.write(blocks)
            self._size += len(blocks)
            self.written += packets
            return at, left - packets

    def _is_old(self, ring: Ring) -> bool:
        return ring.seconds is not None and monotonic() - self._begun >= ring.seconds

    def _turn(self, ring: Ring, size: int) -> None:
        """Go on with another file if this one is full or old enough."""
        full = ring.size is not None and self._size + size > ring.size
        if (full or self._is_old(ring)) and self._size > len(self._head):
            self._tell(*self._told)
            self._flush()
            ended, self._file = self._file, self._next_file()  # where there is none, this stays
            ended.close()
            self._begin()

    def tell(self, received: int, dropped: int) -> None:
        """Write how many packets came, and how many of these were lost before they got here."""
        with self._lock:
            self._tell(received, dropped)
            self._flush()

    def _tell(self, received: int, dropped: int) -> None:
        self._told = received, dropped
        self._file.write(
            interface_statistics(
                time.time_ns(),
                self._start,
                received=received,
                dropped=dropped,
                delivered=self.written,
            )
        )

    def flush(self) -> None:
        """Let what was written reach the file; a file that is closed has it."""
        with self._lock:
            if not self._file.closed:
                self._flush()

    def _flush(self) -> None:
        self._file.flush()
        self._flushed = self.written

    def close(self) -> None:
        """Close a file that was opened here, flush another. Idempotent.

        Where that fails, `written` is what reached the file before.
        """
        with self._lock:
            if self._file.closed:
                return
            try:
                self._flush()
            finally:
                self.written = self._flushed
                self._give_up()

    def _give_up(self) -> None:
        """Close a file that was opened here. What waits is lost if it does not take it."""
        if self._path is not None:
            with suppress(OSError):
                self._file.close()


def _application() -> str:
    """What a file says of its writer."""
    try:
        return f"aiotun {version('aiotun')}"
    except PackageNotFoundError:  # run from its source
        return "aiotun"
