"""Systems that hand a TUN over instead of letting a program make one, and what they tell of it."""

from __future__ import annotations

import errno
import sys

from ..errors import NoDriverError, UnsupportedError

__all__ = ["ANDROID", "APPLE", "find_utun_descriptor", "how_to_get_one"]

ANDROID = hasattr(sys, "getandroidapilevel")
"""Python before 3.13 calls that system Linux, too."""

APPLE = sys.platform in ("darwin", "ios", "tvos", "visionos")

DESCRIPTORS = 1024
"""How many are looked at for a utun: as many as an app has at most, unless it asks for more."""


def how_to_get_one() -> tuple[str, ...]:
    """What to do where a program cannot make a device."""
    if ANDROID:
        return ("take that of VpnService.Builder.establish(): Device.from_fd(fd)",)
    if APPLE and sys.platform != "darwin":
        return ("take a NEPacketTunnelProvider's: Device.from_fd(find_utun_descriptor())",)
    return ()


def find_utun_descriptor() -> int:
    """The descriptor of the utun that this process has: a Network Extension's packet flow.

    NEPacketTunnelProvider (iOS, tvOS, macOS) opens it and offers no way to ask for it, so all
    descriptors are looked at. It stays the extension's: `Device.from_fd(fd, closefd=False)`.

    Raises `UnsupportedError` on systems that have no utun, and `NoDriverError` (ENOENT) while
    there is none.
    """
    if sys.platform != "win32" and APPLE:
        from .bsd.kernel import Kernel
        from .darwin.utun import utun_name

        kernel = Kernel()
        for fd in range(DESCRIPTORS):
            if utun_name(kernel, fd) is not None:
                return fd
        raise NoDriverError(
            errno.ENOENT,
            "this process has no utun",
            remedies=("call it once setTunnelNetworkSettings has completed",),
        )
    raise UnsupportedError(errno.EOPNOTSUPP, f"there is no utun on {sys.platform}")
