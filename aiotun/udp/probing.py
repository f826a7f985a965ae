"""Trying over the loopback whether a call does what it is said to do."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["HOST", "loopback_pair", "what_comes"]

T = TypeVar("T")

HOST = "127.0.0.1"

PATIENCE = 1.0
"""Seconds in which all has to come."""


@contextmanager
def loopback_pair(
    kind: Callable[[int, int], socket.socket] = socket.socket,
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two UDP sockets that never block, the second one bound to no address. Raises `OSError`."""
    with (
        kind(socket.AF_INET, socket.SOCK_DGRAM) as near,
        kind(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        for sock, host in (near, HOST), (far, "0.0.0.0"):
            sock.bind((host, 0))
            sock.setblocking(False)
        yield near, far


def what_comes(sock: socket.socket, receive: Callable[[], list[T]], count: int) -> list[T]:
    """What is received until it is so much, or too late. Blocks meanwhile."""
    received: list[T] = []
    end = time.monotonic() + PATIENCE
    while len(received) < count and (left := end - time.monotonic()) > 0:
        if select.select([sock], [], [], left)[0]:
            received += receive()
    return received
