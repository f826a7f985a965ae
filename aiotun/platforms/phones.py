"""Systems that hand a TUN over instead of letting a program make one, and what they tell of it."""

from __future__ import annotations

import errno
import socket
import sys

from ..errors import NoDriverError, UnsupportedError
from .base import Framing

__all__ = ["ANDROID", "APPLE", "find_utun_descriptor", "framing_of", "how_to_get_one", "utun_name"]

ANDROID = hasattr(sys, "getandroidapilevel")
"""Python before 3.13 calls that system Linux, too."""

APPLE = sys.platform in ("darwin", "ios", "tvos", "visionos")

DESCRIPTORS = 1024
"""How many are looked at for a utun: as many as an app has at most, unless it asks for more."""


def framing_of(fd: int) -> Framing | None:
    """What stands in front of the packets of a descriptor; None where this system cannot tell."""
    if ANDROID:  # com_android_server_connectivity_Vpn.cpp: IFF_TUN | IFF_NO_PI
        return "none"
    if APPLE and utun_name(fd) is not None:
        return "family"
    return None


def how_to_get_one() -> tuple[str, ...]:
    """What to do where a program cannot make a device."""
    if ANDROID:
        return ("take that of VpnService.Builder.establish(): Device.from_fd(fd)",)
    if APPLE and sys.platform != "darwin":
        return ("take a NEPacketTunnelProvider's: Device.from_fd(find_utun_descriptor())",)
    return ()


def utun_name(fd: int) -> str | None:
    """The name of the utun that the descriptor belongs to; None if it is of something else."""
    from .bsd.headers.common import IFNAMSIZ
    from .bsd.headers.darwin import SYSPROTO_CONTROL, UTUN_OPT_IFNAME

    try:
        sock = socket.socket(fileno=fd)
    except OSError:  # no socket
        return None
    try:
        name = sock.getsockopt(SYSPROTO_CONTROL, UTUN_OPT_IFNAME, IFNAMSIZ)
    except OSError:
        return None
    finally:
        sock.detach()
    # Another of the kernel's controls, IPsec's, has the same option.
    return name.rstrip(b"\0").decode("ascii", "replace") if name.startswith(b"utun") else None


def find_utun_descriptor() -> int:
    """The descriptor of the utun that this process has: a Network Extension's packet flow.

    NEPacketTunnelProvider (iOS, tvOS, macOS) opens it and offers no way to ask for it, so all
    descriptors are looked at. It stays the extension's: `Device.from_fd(fd, closefd=False)`.

    Raises `UnsupportedError` on systems that have no utun, and `NoDriverError` (ENOENT) while
    there is none.
    """
    if not APPLE:
        raise UnsupportedError(errno.EOPNOTSUPP, f"there is no utun on {sys.platform}")
    for fd in range(DESCRIPTORS):
        if utun_name(fd) is not None:
            return fd
    raise NoDriverError(
        errno.ENOENT,
        "this process has no utun",
        remedies=("call it once setTunnelNetworkSettings has completed",),
    )
