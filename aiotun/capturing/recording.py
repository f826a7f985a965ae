"""Recording: what passes on an interface of this machine, whoever has it, into a file."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import time
from contextlib import ExitStack

from ..cancelling import Closing
from ..codecs import LINKTYPE_ETHERNET
from ..config import Layer
from ..errors import InterfaceGoneError
from ..interrupt import Interrupt
from ..offload import VirtioNetHeader
from .files import CaptureFile, Ring, Target
from .filters import SNAP_LENGTH, Filter
from .frames import packets_of
from .linux import Captured, PacketRing, keeping, link_type_of, with_tag

__all__ = ["Recording"]

READ_WAIT, END_WAIT = 1.0, 0.2
"""Seconds to wait for packets, and for those that the kernel still has when it is to end."""

TELL_INTERVAL = 1.0
"""Seconds after which drops are written into the file."""


class Recording(Closing):
    """Of the interface of that name; the other arguments are those of `aiotun.capture`.

    `buffer` is the memory in bytes where packets wait to be written. Raises as `Filter`,
    `PacketRing` and `CaptureFile` do.
    """

    def __init__(
        self,
        name: str,
        file: Target,
        *,
        filter: str = "",
        split: bool = False,
        snap_length: int = SNAP_LENGTH,
        ring: Ring | None = None,
        count: int | None = None,
        buffer: int,
    ) -> None:
        link_type = link_type_of(name)
        self._layer: Layer = "tap" if link_type == LINKTYPE_ETHERNET else "tun"
        self._split = split
        # Only what is whole can be split.
        keep = SNAP_LENGTH if split else min(snap_length, SNAP_LENGTH)
        instructions = Filter(filter, link_type, keep).instructions if filter else keeping(keep)
        with ExitStack() as stack:
            self._packets = stack.enter_context(PacketRing(name, filter=instructions, size=buffer))
            self._file = stack.enter_context(
                CaptureFile(
                    file,
                    link_type,
                    name=name,
                    snap_length=snap_length,
                    filter=filter,
                    ring=ring,
                    count=count,
                )
            )
            self._open = stack.pop_all()

    @property
    def packets(self) -> int:
        """How many were written; once closed, how many the file took for sure."""
        return self._file.written

    @property
    def lost(self) -> int:
        """Packets for which there was no place in the buffer, as of the last `tell`."""
        return self._packets.dropped

    def run(self, interrupt: Interrupt, *, seconds: float | None = None) -> None:
        """Write packets until interrupted, so many as `count` says, or so much time.

        What waits then is written too, and nothing that comes later. Raises the file's `OSError`,
        and `InterfaceGoneError` after all that the interface carried.
        """
        end = float("inf") if seconds is None else time.monotonic() + seconds
        told, lost = time.monotonic(), 0
        gone: InterfaceGoneError | None = None
        ending = False
        take = None if self._split else self._file.write_captured
        while not self._file.full:
            left = end - time.monotonic()
            if not ending and (gone is not None or interrupt.is_set() or left <= 0):
                ending = True
                self._packets.stop()  # a busy interface would always have another one
            before = self._file.written
            try:
                waits = (END_WAIT,) if ending else (min(READ_WAIT, left), interrupt)
                for captured in self._packets.read(*waits, take=take):
                    self._write(captured)
                    if self._file.full:
                        return
            except InterfaceGoneError as exc:
                gone = exc
                continue
            self._file.flush()
            if ending and self._file.written == before:
                break
            if time.monotonic() - told >= TELL_INTERVAL:
                told = time.monotonic()
                self._packets.count()
                if self.lost > lost:
                    lost = self.lost
                    self.tell()
        if gone is not None:
            raise gone

    def _write(self, captured: Captured) -> None:
        cut = captured.size + VirtioNetHeader.SIZE - len(captured.frame)
        packets, remark = packets_of(captured.frame, self._layer, split=self._split, cut=cut > 0)
        for packet in packets:
            self._file.write(
                with_tag(packet, captured.tag),
                captured.time,
                cut=cut,
                direction=captured.direction,
                comment=remark,
            )

    def tell(self) -> None:
        """Write how many packets came, and how many were lost."""
        self._packets.count()
        self._file.tell(self._packets.received, self._packets.dropped)

    def close(self) -> None:
        """Idempotent."""
        self._open.close()
