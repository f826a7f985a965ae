"""capture: a tap between a program and its device, for the packets of both directions."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import NamedTuple

from ..cancelling import Closing
from ..codecs import LINKTYPE_ETHERNET, LINKTYPE_RAW
from ..codecs.pcapng_blocks import INBOUND, OUTBOUND
from ..device import Device
from ..errors import ConfigError
from ..kinds import check_kind
from ..platforms.tapped import Tap
from ..streams import PacketStream
from ..transports import PacketTransport
from .files import CaptureFile, Ring, Target
from .filters import SNAP_LENGTH, Filter
from .frames import packets_of

__all__ = ["LINK_TYPES", "Capture", "capture"]

LINK_TYPES = {"tun": LINKTYPE_RAW, "tap": LINKTYPE_ETHERNET}

BUFFER = 64 << 20
"""Bytes of packets that may wait to be written."""

GATHER_TIME = 0.005
"""Seconds for which frames gather until they are written: the writer takes the GIL each time."""

TELL_INTERVAL = 1.0
"""Seconds after which what was lost is written into the file."""


class _Frame(NamedTuple):
    frame: bytes
    time: int
    direction: int
    comment: str


def capture(
    device: Device | PacketTransport | PacketStream,
    file: Target,
    *,
    filter: str = "",
    split: bool = False,
    snap_length: int = SNAP_LENGTH,
    ring: Ring | None = None,
    count: int | None = None,
    buffer: int = BUFFER,
) -> Capture:
    """Record what passes between this program and a device, as pcapng.

    >>> with aiotun.capture(tun, "tunnel.pcapng", filter="tcp port 443"):
    ...     await talk(tun)

    Works for every kind of device, those in memory among them, and without privileges. It
    may begin and end while the device is used. The directions are the system's, as tcpdump
    tells them of the interface: what the program reads is outbound, and what it writes
    inbound. What the system refused is there too, and a comment says why. Times are in
    nanoseconds.

    file: A path, or a binary file that is open for writing, and that stays open.
    filter: In the syntax of pcap-filter(7), for libpcap.
    split: Write the packets of a super-packet one by one. Otherwise it is one packet, as the
        kernel has it, whose checksum is not computed yet.
    snap_length: Bytes that are kept of each packet.
    ring: Go on with another file after a size or a time, see `Ring`.
    count: Record so many packets, the first ones. None: all of them.
    buffer: Bytes of packets that may wait for the thread that writes the file.

    The native functions give way to the Python ones meanwhile, which are slower. A file that is
    slower than the traffic does not hold it up: packets that find no place in the buffer are lost
    to the capture, and counted in `lost` and in the file. An error of the file ends the capture,
    not the traffic: `error` has it, and it is logged.

    Raises `OSError` of the file, `ConfigError` for a wrong filter, size or ring, `BusyError` where
    another capture of this device goes on, and `ClosedError`.
    """
    check_kind(device, "device", Device, PacketTransport, PacketStream)
    check_kind(filter, "filter=", str)
    tapped = device if isinstance(device, Device) else device.device
    for what, value in (("snap length", snap_length), ("count", count), ("buffer", buffer)):
        if value is not None and not (isinstance(value, int) and value >= 1):
            raise ConfigError(f"the {what} is at least 1, not {value!r}")
    link_type = LINK_TYPES[tapped.layer]
    compiled = Filter(filter, link_type) if filter else None
    output = CaptureFile(
        file,
        link_type,
        name=tapped.name,
        snap_length=snap_length,
        filter=filter,
        ring=ring,
        count=count,
    )
    try:
        return Capture(tapped, output, compiled, split, buffer)
    except BaseException:
        output.close()
        raise


class Capture(Tap, Closing):
    """A capture that goes on until `close`, the end of its `with` block."""

    def __init__(
        self, device: Device, file: CaptureFile, filter: Filter | None, split: bool, buffer: int
    ) -> None:
        self._device = device
        self._file = file
        self._filter = filter
        self._split = split
        self._layer = device.layer
        self._vnet_hdr = device.queue.vnet_hdr
        self._waiting: SimpleQueue[_Frame | threading.Event | None] = SimpleQueue()
        """What the writer is to do: write a frame, tell that all before is in the file, end."""
        self._buffer = buffer
        self._accepted = self._done = 0
        """Bytes of frames that were put there, and of those that were taken from there."""
        self._lock = threading.Lock()
        self._lost = 0
        self._ended = False
        self.error: OSError | None = None
        """What ended the capture before its time."""
        device.set_tap(self)
        # Whoever forgets to close is not kept from exiting.
        self._writer = threading.Thread(target=self._write, name="aiotun capture", daemon=True)
        try:
            self._writer.start()
        except BaseException:
            device.set_tap(None)
            raise

    @property
    def packets(self) -> int:
        """How many were written; once closed, how many the file took for sure."""
        return self._file.written

    @property
    def lost(self) -> int:
        """Packets that passed, and are missing in the file: they found no place in the buffer, or
        came after an error of the file. Once closed, also those that waited for it then."""
        return self._lost

    def frame_read(self, frame: bytes, time: int) -> None:
        if frame:
            self._take(_Frame(frame, time, OUTBOUND, ""))

    def frame_written(self, frame: bytes, time: int, refused: OSError | None) -> None:
        comment = f"refused: {refused.strerror}" if refused else ""
        self._take(_Frame(frame, time, INBOUND, comment))

    def _take(self, seen: _Frame) -> None:
        size = len(seen.frame)
        with self._lock:
            if self.error is None and self._accepted + size - self._done <= self._buffer:
                self._accepted += size
                self._waiting.put(seen)
                return
        self._lose(len(self._packets(seen)[0]))

    def _lose(self, packets: int) -> None:
        with self._lock:
            self._lost += packets

    def _packets(self, seen: _Frame) -> tuple[Sequence[bytes | memoryview], str]:
        """Those of a frame that are to be written, and what is to be said of them."""
        packets: Sequence[bytes | memoryview] = [seen.frame]
        remark = ""
        if self._vnet_hdr:
            packets, remark = packets_of(seen.frame, self._layer, split=self._split)
        if self._filter is not None:
            packets = [each for each in packets if self._filter.matches(each)]
        return packets, remark

    # What follows is the writer's.

    def _write(self) -> None:
        told = time.monotonic()
        while (found := self._waiting.get()) is not None:
            if isinstance(found, threading.Event):
                self._try(self._file.flush)
                found.set()
                continue
            self._write_frame(found)
            self._done += len(found.frame)
            if time.monotonic() - told >= TELL_INTERVAL:
                told = time.monotonic()
                self._try(self._tell)
            if self._waiting.empty():
                self._try(self._file.flush)
                time.sleep(GATHER_TIME)

    def _write_frame(self, seen: _Frame) -> None:
        packets, remark = self._packets(seen)
        comment = "; ".join(filter(None, (seen.comment, remark)))
        for packet in packets:
            write = partial(
                self._file.write, packet, seen.time, direction=seen.direction, comment=comment
            )
            if not self._try(write):
                self._lose(1)

    def _tell(self) -> None:
        self._file.tell(self._file.written + self._lost, self._lost)

    def _try(self, act: Callable[[], None]) -> bool:
        """Whether it was done: not after an error of the file."""
        if self.error is None:
            try:
                act()
                return True
            except (OSError, ValueError) as exc:  # ValueError: others closed it
                closed = OSError(errno.EBADF, "the file was closed")
                self.error = exc if isinstance(exc, OSError) else closed
                self._device.logger.error("the capture ended: %s", self.error)
        return False

    # What follows is its owner's again.

    def flush(self) -> None:
        """Wait until what was captured is in the file. Raises its `OSError`."""
        written = threading.Event()
        with self._lock:
            waits = not self._ended
            if waits:
                self._waiting.put(written)
        if waits:
            written.wait()
        if self.error is not None:
            raise self.error.with_traceback(None)  # it grows with each raise

    def close(self) -> None:
        """End the capture, write what waits and close the file. The device stays as it is.
        Idempotent.

        Raises the `OSError` of a file that cannot take the rest.
        """
        with self._lock:  # what `flush` asks for stands before the end
            if self._ended:
                return
            self._ended = True
        self._device.set_tap(None)
        self._waiting.put(None)
        self._writer.join()
        failed = self.error is not None
        self._try(self._tell)
        written = self._file.written
        try:
            self._file.close()
        except OSError as exc:
            self.error = self.error or exc
        self._lost += written - self._file.written
        if self.error is not None and not failed:
            raise self.error
