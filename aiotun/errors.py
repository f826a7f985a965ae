"""Every exception that aiotun raises of its own.

Two roots, so that callers can catch by what went wrong rather than by where:
`TunError` is an `OSError` and always carries an errno; `OffloadError` is a
`ValueError` about the bytes of one frame.
"""

from __future__ import annotations

import errno

__all__ = [
    "AddressError",
    "BusyError",
    "ClosedError",
    "ConfigError",
    "DeviceForbiddenError",
    "FrameHeaderError",
    "FrameTooShortError",
    "InterfaceDownError",
    "InterfaceGoneError",
    "MTUError",
    "NameInUseError",
    "NameInvalidError",
    "NoCapabilityError",
    "NoDriverError",
    "NoTunNodeError",
    "OffloadError",
    "PacketError",
    "TunError",
    "UnsupportedError",
]


class TunError(OSError):
    """Base of everything that goes wrong with a device; `errno` is always set."""


# Opening a device.


class NoTunNodeError(TunError, FileNotFoundError):
    """ENOENT: the system has no /dev/net/tun."""


class NoDriverError(TunError):
    """ENODEV or ENXIO: the node exists, the kernel's driver behind it does not."""


class DeviceForbiddenError(TunError, PermissionError):
    """EPERM or EACCES when opening the node: file mode, or a container's device cgroup."""


class NoCapabilityError(TunError, PermissionError):
    """EPERM when asking for or changing an interface: CAP_NET_ADMIN is missing."""


class NameInUseError(TunError):
    """EBUSY or EEXIST: another program or another kind of interface has that name."""


class UnsupportedError(TunError):
    """EOPNOTSUPP: this system, or this kind of device, cannot do what was asked."""


# What a device should be.


class ConfigError(TunError, ValueError):
    """EINVAL: a value that no device can have. Raised before anything is opened."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EINVAL, message)


class NameInvalidError(ConfigError):
    """An interface name that is empty, too long, or has characters that names cannot have."""


class AddressError(ConfigError):
    """An address that cannot be read, or that stands twice, or whose peer does not fit it."""


class MTUError(ConfigError):
    """An MTU out of the range that the interface and its addresses allow."""


# Using a device.


class InterfaceGoneError(TunError):
    """EBADFD or ENODEV: the interface was deleted while the device was open."""


class InterfaceDownError(TunError):
    """EIO: a packet was written to an interface that is not up."""


class PacketError(TunError):
    """EINVAL or EMSGSIZE: a packet that the device cannot carry; the packet was dropped."""


class BusyError(TunError):
    """EBUSY: another task or thread is already reading from here."""


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
