"""Every exception that aiotun raises of its own.

    OSError
    └── TunError               `errno` is always set; `remedies` say what helps
        ├── NotPermittedError      (PermissionError) this process may not do that
        ├── NoDriverError          the system has no driver for such devices, or no node for it
        ├── NamespaceError         the network namespace is not there, or is none
        ├── NameInUseError         an interface of that name exists, or is open elsewhere
        ├── QueueLimitError        the interface has all the queues that it can have
        ├── UnsupportedError       this system, or this kind of device, cannot do that
        ├── ConfigError            (ValueError) a value that no device can have
        │   ├── NameInvalidError
        │   ├── AddressError
        │   ├── RouteError
        │   ├── MTUError
        │   └── MACError
        ├── InterfaceGoneError     the interface was deleted
        ├── InterfaceDownError     a packet was written to an interface that is down
        ├── PacketError            a packet that the device cannot carry
        ├── PathMTUError           datagrams that their path does not carry whole
        ├── BusyError              another task, thread or transport uses it
        ├── InterruptError         (InterruptedError) an `Interrupt` ended the wait
        └── ClosedError            the device, transport or stream was closed
    ValueError
    ├── OffloadError           a frame that cannot be taken apart
    │   ├── FrameTooShortError     it ends before its headers do
    │   └── FrameHeaderError       a header contradicts the bytes that are there
    └── CodecError             bytes that a codec cannot decode, or an item it cannot encode

Those that programs catch are there as `aiotun.TunError` too; all are as
`aiotun.errors.TunError`.
"""

from __future__ import annotations

import errno
from typing import Any

__all__ = [
    "AddressError",
    "BusyError",
    "ClosedError",
    "CodecError",
    "ConfigError",
    "FrameHeaderError",
    "FrameTooShortError",
    "InterfaceDownError",
    "InterfaceGoneError",
    "InterruptError",
    "MACError",
    "MTUError",
    "NameInUseError",
    "NameInvalidError",
    "NamespaceError",
    "NoDriverError",
    "NotPermittedError",
    "OffloadError",
    "PacketError",
    "PathMTUError",
    "QueueLimitError",
    "RouteError",
    "TunError",
    "UnsupportedError",
]


class TunError(OSError):
    """Base of everything that goes wrong with a device; `errno` is always set."""

    remedies: tuple[str, ...]
    """What to do about it: one of these helps. They end the message, too."""

    def __init__(
        self,
        number: int,
        message: str,
        filename: str | None = None,
        *,
        remedies: tuple[str, ...] = (),
    ) -> None:
        if remedies:
            message += f": {'; or '.join(remedies)}"
        super().__init__(number, message, *([] if filename is None else [filename]))
        self.remedies = remedies

    def __reduce__(self) -> tuple[Any, ...]:
        """For `copy` and `pickle`, which would give the class what `OSError` takes."""
        filename = [] if self.filename is None else [self.filename]
        return _made_again, (type(self), self.errno, self.strerror, *filename), self.__dict__


def _made_again(kind: type[TunError], *args: Any) -> TunError:
    error = kind.__new__(kind)
    OSError.__init__(error, *args)
    return error


# Opening a device.


class NotPermittedError(TunError, PermissionError):
    """EPERM or EACCES: this process may not open, make, change or enter that."""


class NoDriverError(TunError):
    """ENOENT, ENODEV, ENXIO or ENOTTY: the system's driver for such devices, or its node, is
    missing."""


class NameInUseError(TunError):
    """EBUSY or EEXIST: another program or another kind of interface has that name."""


class NamespaceError(TunError):
    """ENOENT or EINVAL: the network namespace is not there, or something else is."""


class QueueLimitError(TunError):
    """E2BIG: the interface has as many queues as it can have."""


class UnsupportedError(TunError):
    """EOPNOTSUPP: this system, or this kind of device, cannot do what was asked."""


# What a device should be.


class ConfigError(TunError, ValueError):
    """EINVAL: a value that no device can have. Raised before anything is opened.

    One that the system refuses has the system's errno.
    """

    def __init__(
        self, message: str, number: int | None = None, *, remedies: tuple[str, ...] = ()
    ) -> None:
        number = errno.EINVAL if number is None else number
        super().__init__(number, message, remedies=remedies)


class NameInvalidError(ConfigError):
    """An interface name that is empty, too long, or has characters that names cannot have."""


class AddressError(ConfigError):
    """An address that cannot be read, or that stands twice, or whose peer does not fit it."""


class RouteError(ConfigError):
    """A route that cannot be read, added or removed."""


class MTUError(ConfigError):
    """An MTU out of the range that the interface and its addresses allow."""


class MACError(ConfigError):
    """A MAC address that cannot be read, that no interface can have, or for a TUN."""


# Using a device.


class InterfaceGoneError(TunError):
    """EBADFD or ENODEV: the interface was deleted while the device was open."""


class InterfaceDownError(TunError):
    """EIO: a packet was written to an interface that is not up."""


class PacketError(TunError):
    """EINVAL or EMSGSIZE: a packet that the device cannot carry; the packet was dropped."""


class PathMTUError(TunError):
    """EMSGSIZE: UDP datagrams that the path to `addr` does not carry whole.

    `mtu` bytes are what it carries, IP and UDP header (28 bytes, 48 with IPv6)
    included; 0 if that is not known.
    """

    def __init__(self, mtu: int, addr: Any) -> None:
        super().__init__(
            errno.EMSGSIZE,
            f"the path to {addr[0]} carries IP packets of {mtu or '?'} bytes at most",
        )
        self.mtu = mtu
        self.addr = addr


class BusyError(TunError):
    """EBUSY: another task or thread is already reading from here."""


class InterruptError(TunError, InterruptedError):
    """EINTR: an `Interrupt` ended the wait; `value` is what it carries."""

    def __init__(self, value: object = None) -> None:
        super().__init__(errno.EINTR, f"interrupted, with {value!r}")
        self.value = value


class ClosedError(TunError):
    """EBADF: the device, transport or stream was closed."""

    def __init__(self, message: str = "the device is closed") -> None:
        super().__init__(errno.EBADF, message)


# Frames.


class OffloadError(ValueError):
    """A frame (virtio_net_hdr + packet) that cannot be taken apart; says which field is wrong."""


class FrameTooShortError(OffloadError):
    """The frame ends before the headers that it must have."""


class FrameHeaderError(OffloadError):
    """The virtio_net_hdr, or a header of the packet, contradicts the bytes that are there."""


class CodecError(ValueError):
    """Bytes that a codec cannot decode, or an item that it cannot encode.

    `what` is wrong, `offset` bytes from the start of the stream; for a packet
    codec, also behind a stream codec, from the start of the packet. The stream
    can go on behind a `recoverable` error: only this frame is lost.
    """

    def __init__(self, what: str, *, offset: int = 0, recoverable: bool = True) -> None:
        super().__init__(what)
        self.what = what
        self.offset = offset
        self.recoverable = recoverable

    def __str__(self) -> str:
        return f"{self.what}, at byte {self.offset}"
