"""recvmsg_x of macOS: many packets of a utun in one call, which native code makes.

It is private: it and its struct stand in xnu's bsd/sys/socket_private.h alone. So each process
tries it once, over the loopback, before it is relied on. Packets are written one by one: sendmsg_x
gives a utun its packets one after the other too, and drops the rest at the first that is refused
(ctl_send_list in bsd/kern/kern_control.c). How many went newer kernels say for ENOBUFS, but not for
the ENOSPC of a utun that is full (sendmsg_x in bsd/kern/uipc_syscalls.c): so the rest could only be
lost, or sent twice.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import ctypes
import errno
import select
import socket

from ...errors import UnsupportedError
from ...native import native
from ...trials import trial
from ..bsd.headers.common import AF_INET
from ..bsd.headers.darwin import AF_INET6

__all__ = ["check", "checked"]

FAMILIES = AF_INET, AF_INET6

SENT = [bytes([size & 0xFF]) * size for size in (20, 4000, 1, 1400)]


@trial
def checked() -> int:
    """The address of this system's, which was tried. Raises `UnsupportedError`."""
    function = getattr(ctypes.CDLL(None), "recvmsg_x", None)
    address = ctypes.cast(function, ctypes.c_void_p).value if function else None
    if address is None:
        raise _unsupported("this system has no call that receives many packets")
    check(address)
    return address


def check(address: int) -> None:
    """Read datagrams by that function. Raises `UnsupportedError` unless they come as they were
    sent, and without the native module."""
    if native is None:
        raise _unsupported("the native module is not built")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        near.bind(("127.0.0.1", 0))
        near.setblocking(False)
        for packet in SENT:
            far.sendto(AF_INET.to_bytes(4, "big") + packet, near.getsockname())
        received: list[bytes] = []
        while len(received) < len(SENT) and select.select([near], [], [], 1)[0]:
            packets = native.read_frames(near.fileno(), len(SENT), FAMILIES, address)
            if not packets:
                break
            received += packets
    if received != SENT:
        raise _unsupported("the call that receives many packets does not work as expected here")


def _unsupported(reason: str) -> UnsupportedError:
    return UnsupportedError(
        errno.EOPNOTSUPP, reason, remedies=("leave receive_many=True out of DarwinOptions",)
    )
