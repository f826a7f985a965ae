"""Requests to the kernel's rtnetlink, one at a time, from any thread, with or without a loop."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import errno
import socket
from contextlib import suppress

from ...cancelling import Closing
from ...errors import NotPermittedError, TunError
from .inherited import SocketPerProcess
from .rtnetlink.messages import (
    NLM_F_ACK,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    decode_messages,
    decode_status,
    encode_message,
)

__all__ = ["RECEIVE_SIZE", "NetlinkSocket"]

# linux/netlink.h
NETLINK_ROUTE = 0
SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12

RECEIVE_SIZE = 65536
"""The kernel fills 32 KiB of a dump at most (netlink_dump in net/netlink/af_netlink.c)."""

TIMEOUT = 5.0
"""Seconds. The kernel works off a request within send(2), so its answer is there at once;
this bounds the wait should it ever not be."""

DUMP_ATTEMPTS = 32
"""A dump during which something changed is incomplete and is asked for again."""


class NetlinkSocket(SocketPerProcess, Closing):
    """A blocking request socket. It stays in the network namespace in which it was made."""

    def __init__(self) -> None:
        super().__init__()
        self._sequence = 0

    def _open(self) -> socket.socket:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
        sock.settimeout(TIMEOUT)
        # The kernel's words for errors (4.12), no echo of the request (4.2), dumps of one
        # interface (4.20): everything works without them as well.
        for option in (NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK):
            with suppress(OSError):
                sock.setsockopt(SOL_NETLINK, option, 1)
        return sock

    def request(self, kind: int, body: bytes, flags: int = 0) -> list[bytes]:
        """Send one request and return the bodies of the messages that answer it.

        With NLM_F_DUMP that is a list, all of it as it was at one moment. Raises
        `NotPermittedError`, or `OSError` with the kernel's errno and, where it sent one, its
        message.
        """
        for _ in range(DUMP_ATTEMPTS):
            answers, interrupted = self._transact(kind, NLM_F_REQUEST | NLM_F_ACK | flags, body)
            if not interrupted:
                return answers
        raise TunError(errno.EAGAIN, "the system's interfaces change too fast to be listed")

    def close(self) -> None:
        with self._lock:
            self._socket.close()

    def _transact(self, kind: int, flags: int, body: bytes) -> tuple[list[bytes], bool]:
        with self._lock:
            sock = self._own()
            self._sequence += 1
            sock.send(encode_message(kind, flags, self._sequence, body))
            answers: list[bytes] = []
            interrupted = False
            while True:
                for message in decode_messages(sock.recv(RECEIVE_SIZE)):
                    if message.sequence != self._sequence:
                        continue  # the late answer to a request that timed out
                    interrupted |= bool(message.flags & NLM_F_DUMP_INTR)
                    if message.kind not in (NLMSG_ERROR, NLMSG_DONE):
                        answers.append(message.body)
                        continue
                    number, reason = decode_status(message)
                    if number == errno.EPERM:
                        raise NotPermittedError(
                            errno.EPERM,
                            "this process may not change the network's settings, it lacks "
                            "CAP_NET_ADMIN",
                            remedies=(
                                "run it with sudo",
                                "let an administrator do it (ip link, ip address, ip route)",
                            ),
                        )
                    if number:
                        raise OSError(number, reason)
                    return answers, interrupted
