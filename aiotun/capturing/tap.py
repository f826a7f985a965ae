"""capture: a tap between a program and its device, for the packets of both directions."""

from __future__ import annotations

import errno
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from ..cancelling import Closing
from ..codecs import LINKTYPE_ETHERNET, LINKTYPE_RAW
from ..codecs.pcapng_blocks import INBOUND, OUTBOUND
from ..device import Device
from ..errors import ConfigError
from ..platforms.tapped import Tap
from .files import CaptureFile, Ring, Target
from .filters import Filter
from .frames import packets_of

if TYPE_CHECKING:
    from ..streams import PacketStream
    from ..transports import PacketTransport

__all__ = ["LINK_TYPES", "SNAP_LENGTH", "Capture", "capture"]

LINK_TYPES = {"tun": LINKTYPE_RAW, "tap": LINKTYPE_ETHERNET}

SNAP_LENGTH = 0x40000
"""Bytes kept of a packet, as tcpdump's default: all of them."""


def capture(
    device: Device | PacketTransport | PacketStream,
    file: Target,
    *,
    filter: str = "",
    split: bool = False,
    snap_length: int = SNAP_LENGTH,
    ring: Ring | None = None,
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

    The native functions give way to the Python ones meanwhile, which are slower, and the
    file is written by the thread that reads or writes the packet. An error of the file ends the
    capture, not the traffic: `error` has it, and it is logged.

    Raises `OSError` of the file, `ConfigError` for a wrong filter, size or ring, `BusyError` where
    another capture of this device goes on, and `ClosedError`.
    """
    tapped = device if isinstance(device, Device) else device.device
    if snap_length < 1:
        raise ConfigError(f"the snap length is at least 1, not {snap_length}")
    link_type = LINK_TYPES[tapped.layer]
    compiled = Filter(filter, link_type) if filter else None
    output = CaptureFile(
        file, link_type, name=tapped.name, snap_length=snap_length, filter=filter, ring=ring
    )
    try:
        return Capture(tapped, output, compiled, split)
    except BaseException:
        output.close()
        raise


class Capture(Tap, Closing):
    """A capture that goes on until `close`, the end of its `with` block."""

    def __init__(
        self, device: Device, file: CaptureFile, filter: Filter | None, split: bool
    ) -> None:
        self._device = device
        self._file = file
        self._filter = filter
        self._split = split
        self._lock = threading.Lock()
        self._matched = 0
        self._ended = False
        self.error: OSError | None = None
        """What ended the capture before its time."""
        device.set_tap(self)

    @property
    def packets(self) -> int:
        """How many were written."""
        return self._file.written

    @property
    def lost(self) -> int:
        """Packets that came after an error of the file, and are missing in it."""
        return self._matched - self._file.written

    def frame_read(self, frame: bytes, time: int) -> None:
        if frame:
            self._record(frame, time, OUTBOUND, "")

    def frame_written(self, frame: bytes, time: int, refused: OSError | None) -> None:
        self._record(frame, time, INBOUND, f"refused: {refused.strerror}" if refused else "")

    def _record(self, frame: bytes, time: int, direction: int, comment: str) -> None:
        packets, remark = [frame], ""
        if self._device.queue.vnet_hdr:
            packets, remark = packets_of(frame, self._device.layer, split=self._split)
        comment = "; ".join(filter(None, (comment, remark)))
        for packet in packets:
            if self._filter is None or self._filter.matches(packet):
                with self._lock:
                    self._matched += 1
                    if self.error is None:
                        try:
                            self._file.write(packet, time, direction=direction, comment=comment)
                        except (OSError, ValueError) as exc:  # ValueError: others closed it
                            closed = OSError(errno.EBADF, "the file was closed")
                            self.error = exc if isinstance(exc, OSError) else closed
                            self._device.logger.error("the capture ended: %s", self.error)

    def flush(self) -> None:
        """Let what was captured reach the file. Raises its `OSError`."""
        self._file.flush()

    def close(self) -> None:
        """End the capture and close the file. The device stays as it is. Idempotent.

        Raises the `OSError` of a file that cannot take the rest.
        """
        if self._ended:
            return
        self._ended = True
        self._device.set_tap(None)
        with self._lock:
            if self.error is not None:
                with suppress(OSError):
                    self._file.close()
                return
            try:
                self._file.tell(self._matched, 0)
            finally:
                self._file.close()
