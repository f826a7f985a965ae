"""A device and listening sockets in a user and network namespace of their own, without privileges.

A process of its own enters the namespaces, makes both there, and hands them over (SCM_RIGHTS,
unix(7)). It ends then, or becomes a command whose packets come out of the device. The
namespace lives as long as the descriptors.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..cancelling import despite_cancellation
from ..device import Device
from ..errors import NotPermittedError, TunError, UnsupportedError
from ..handover import receive_descriptors
from .tcp import Listener, listen

if TYPE_CHECKING:
    from ..addresses import AddressLike, RouteLike

__all__ = ["Rootless", "open_rootless"]

MESSAGE_MAX = 1 << 16

FORBIDDEN = (errno.EPERM, errno.EACCES, errno.ENOSPC)
"""The last is what unshare(2) says where the system allows no more user namespaces."""

HELPER = (
    "import json, sys; from aiotun.flows.rootless import help_out;"
    "help_out(int(sys.argv[1]), json.loads(sys.argv[2]))"
)


class Rootless(NamedTuple):
    """What `open_rootless` gives: for `create_flow_server(device=, listeners=)`."""

    device: Device
    listeners: list[Listener]
    command: subprocess.Popen[bytes] | None
    """Where one was asked for. Whoever asked waits for it."""

    async def wait(self) -> int:
        """Wait for the command; its exit status. SIGINT and SIGTERM go to the command meanwhile."""
        assert self.command is not None
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self.command.send_signal, number)
        try:
            return await asyncio.to_thread(self.command.wait)
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


async def open_rootless(
    *,
    addresses: Sequence[AddressLike] = ("10.9.0.1/24", "fd09::1/64"),
    routes: Sequence[RouteLike] = ("0.0.0.0/0", "::/0"),
    mtu: int = 1500,
    command: Sequence[str] | None = None,
) -> Rootless:
    """Make a device in namespaces of its own, and listening sockets at its addresses.

    A `command` is run there, as a user who looks like root to itself: all that it sends comes
    out of the device. The sockets of this program stay where they are.

    Raises `NotPermittedError` where this user may make no namespaces or may not open the TUN
    node, and what opening a device raises. Linux only. When cancelled, nothing is left behind.
    """
    if isinstance(command, str):
        raise TypeError('a command is a list of words, such as ["ip", "address"], not a str')
    wanted = {
        "addresses": list(map(str, addresses)),
        "routes": list(map(str, routes)),
        "mtu": mtu,
        "command": None if command is None else list(command),
    }
    opening = asyncio.ensure_future(asyncio.to_thread(_open, wanted, mtu))
    try:
        return await despite_cancellation(opening)
    except asyncio.CancelledError:
        if opening.exception() is None:
            await despite_cancellation(asyncio.to_thread(_give_up, opening.result()))
        raise


def _give_up(rootless: Rootless) -> None:
    """End the command, which nobody knows of, and close the rest."""
    rootless.device.close()
    for listener in rootless.listeners:
        listener.socket.close()
    if rootless.command is not None:
        rootless.command.kill()
        rootless.command.wait()


def _open(wanted: dict[str, Any], mtu: int) -> Rootless:
    if sys.platform != "linux":
        raise _unsupported()
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            helper = subprocess.Popen(
                [sys.executable, "-c", HELPER, str(theirs.fileno()), json.dumps(wanted)],
                pass_fds=[theirs.fileno()],
            )
        try:
            data, descriptors = receive_descriptors(ours, MESSAGE_MAX, 3)
            told = json.loads(data or b'{"error": [0, "the helper ended"]}')
            if "error" in told:
                number, text = told["error"]
                kind = NotPermittedError if number in FORBIDDEN else TunError
                raise kind(number or errno.EIO, f"no device without privileges: {text}")
            try:
                device = Device.from_fd(descriptors[0], framing=told["framing"], mtu=mtu)
            except BaseException:
                for fd in descriptors:
                    os.close(fd)
                raise
        except BaseException:
            helper.kill()
            helper.wait()
            raise
    if wanted["command"] is None:
        helper.wait()
    listeners = [
        Listener(socket.socket(fileno=fd), tuple(map(bytes.fromhex, peers)))
        for fd, peers in zip(descriptors[1:], told["peers"], strict=True)
    ]
    return Rootless(device, listeners, helper if wanted["command"] else None)


def help_out(fd: int, wanted: dict[str, Any]) -> None:
    """What the process of its own does; it does not return. `fd` is the socket to answer by."""
    from ..testing.namespace import become_root, enter_namespace

    if sys.platform != "linux":
        raise _unsupported()

    command: list[str] | None = wanted.pop("command")
    with socket.socket(fileno=fd) as sock:
        try:
            become_root()
            enter_namespace()
            device = Device(ipv6_quiet=True, **wanted)
            listeners = listen(device)
        except OSError as exc:
            sock.send(json.dumps({"error": [exc.errno, exc.strerror or str(exc)]}).encode())
            os._exit(1)
        told = {
            "framing": "vnet" if device.offload else "none",
            "peers": [[peer.hex() for peer in each.gate.peers] for each in listeners],
        }
        descriptors = [device.fileno(), *(each.socket.fileno() for each in listeners)]
        socket.send_fds(sock, [json.dumps(told).encode()], descriptors)
    if command is None:
        os._exit(0)  # the descriptors are the other process's now
    try:
        os.execvp(command[0], command)
    except OSError as exc:
        print(f"{command[0]}: {exc.strerror}", file=sys.stderr)
        os._exit(127)


def _unsupported() -> UnsupportedError:
    return UnsupportedError(errno.EOPNOTSUPP, "only Linux has user namespaces")
