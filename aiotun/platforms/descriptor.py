"""Queues that are file descriptors: Linux, the BSDs, macOS, a phone's VPN service."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
import select

from ..errors import ClosedError
from .base import Queue

__all__ = ["DescriptorQueue"]


class DescriptorQueue(Queue):
    """What all of them share; reading and writing is the system's own."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def wait_readable(self, timeout: float | None) -> bool:
        return self._poll(select.POLLIN, timeout)

    def wait_writable(self, timeout: float | None) -> bool:
        return self._poll(select.POLLOUT, timeout)

    def _poll(self, events: int, timeout: float | None) -> bool:
        if self._fd < 0:
            raise ClosedError
        poll = select.poll()
        poll.register(self._fd, events)
        return bool(poll.poll(None if timeout is None else max(0.0, timeout * 1000)))

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
