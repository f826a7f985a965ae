"""Devices handed over: to another process through a UNIX socket, by Apple's systems to an app."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from typing import Any

from .config import KeptSettings, Layer
from .device import Device
from .errors import ClosedError, TunError, UnsupportedError
from .kinds import check_kind
from .platforms.base import Framing
from .platforms.phones import find_utun_descriptor

__all__ = ["find_utun_descriptor", "receive_device", "send_device"]

MESSAGE_MAX = 4096
"""Bytes. Ours have about 180, those of other programs mostly one."""

KEPT = tuple(KeptSettings.__annotations__)

TOLD = ("framing", "offload", "layer", "mtu", *KEPT)
"""What a message says. The framing is None where the system tells it, to whom it lets ask."""


def send_device(sock: socket.socket, device: Device) -> None:
    """Send a device's descriptor over a UNIX socket (SCM_RIGHTS, unix(7)).

    `receive_device` makes a device of it; any other program gets the descriptor by
    recvmsg(2). The device stays open here, and the interface lives until both processes have
    closed it. Close it here, or each packet goes to either of them. Packets that were read
    here and not received yet stay here. Where the system keeps interfaces (FreeBSD before 15, a TUN
    of NetBSD), closing it here destroys the interface: make such a device `persistent`.

    Raises `ClosedError`, `UnsupportedError` for a device without a descriptor or of which it is
    not all (super-packets of a BSD, a TAP of macOS), `BusyError` for one that a transport has, and
    what sending raises.
    """
    check_kind(sock, "sock", socket.socket)
    check_kind(device, "device", Device)
    device._check_usable()
    config = device.interface.config
    told = {
        "framing": device.queue.framing,
        "offload": device.offload,
        "layer": device.layer,
        "mtu": device.mtu,
        **{name: getattr(config, name) for name in KEPT},
    }
    if sys.platform == "win32":
        raise _unsupported()
    socket.send_fds(sock, [json.dumps(told).encode()], [device.fileno()])


def receive_device(
    sock: socket.socket,
    *,
    framing: Framing | None = None,
    layer: Layer = "tun",
    mtu: int = 1500,
) -> Device:
    """The device whose descriptor comes over a UNIX socket; the next message has to have it.

    What `send_device` says of it holds. Of a descriptor that another program sends, in
    whatever message, `framing`, `layer` and `mtu` are taken, as by `Device.from_fd`.

    Waits as the socket does: with its timeout, and without an event loop
    (`await asyncio.to_thread(receive_device, sock)`). Raises `ClosedError` when the other
    side closed the socket, `TunError` (EBADMSG) for a message without a descriptor, `OSError`
    (EMFILE) where this process may have no more of them, and what `Device.from_fd` raises; the
    descriptor is closed then.
    """
    check_kind(sock, "sock", socket.socket)
    data, descriptors = receive_descriptors(sock, MESSAGE_MAX, 1)
    if not descriptors:
        if not data:
            raise ClosedError("the other side closed the socket")
        raise TunError(errno.EBADMSG, "a message came without a descriptor")
    (fd,) = descriptors
    try:
        told = _decode(data) or {"framing": framing, "layer": layer, "mtu": mtu}
        offload = told.pop("offload", False)
        device = Device.from_fd(fd, **told)
        if offload and not device.offload:  # this process may not ask, and it was taken for plain
            fd = device.detach()
            device = Device.from_fd(fd, **(told | {"framing": "vnet"}))
        return device
    except BaseException:
        os.close(fd)
        raise


def receive_descriptors(sock: socket.socket, size: int, count: int) -> tuple[bytes, list[int]]:
    """A message of at most `size` bytes, and at most so many descriptors, closed on exec.

    Raises `OSError` (EMFILE) where the system could not hand over all: none stays open then.
    """
    if sys.platform == "win32":
        raise _unsupported()
    cloexec = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
    data, descriptors, flags, _ = socket.recv_fds(sock, size, count, cloexec)
    if flags & socket.MSG_CTRUNC and len(descriptors) < count:
        for fd in descriptors:
            os.close(fd)
        raise OSError(
            errno.EMFILE,
            "a descriptor came and was lost: this process may have no more (ulimit -n)",
        )
    for fd in descriptors:
        os.set_inheritable(fd, False)
    return data, descriptors


def _decode(data: bytes) -> dict[str, Any] | None:
    """What the message says, if it is one of `send_device`; `Device.from_fd` checks the values."""
    try:
        message = json.loads(data)
        return {name: message[name] for name in TOLD}
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def _unsupported() -> UnsupportedError:
    return UnsupportedError(errno.EOPNOTSUPP, "Windows passes no descriptors over sockets")
