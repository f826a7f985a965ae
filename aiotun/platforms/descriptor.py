"""Queues that are file descriptors: Linux, the BSDs, macOS, a phone's VPN service."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
import select

from ..errors import ClosedError
from ..interrupt import Interrupt
from .base import Queue

__all__ = ["FRAME_MAX", "DescriptorQueue"]

FRAME_MAX = 10 + 14 + 4 + 65535
"""The largest frame: virtio_net_hdr, Ethernet header, VLAN tag, IP packet."""


class DescriptorQueue(Queue):
    """What all such queues share. A subclass reads and writes as its system does."""

    polled = True

    def __init__(self, fd: int, closefd: bool = True) -> None:
        self._fd = fd
        self._closefd = closefd

    def fileno(self) -> int:
        return self._fd

    def channel(self) -> int:
        return self._fd

    def wait_readable(self, timeout: float | None, *interrupts: Interrupt) -> bool:
        return self._poll(select.POLLIN, timeout, interrupts)

    def wait_writable(self, timeout: float | None, *interrupts: Interrupt) -> bool:
        return self._poll(select.POLLOUT, timeout, interrupts)

    def is_writable(self) -> bool:
        """Whether the system takes frames now."""
        if self._fd < 0:
            raise ClosedError
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return any(event & select.POLLOUT for _, event in poll.poll(0))

    def _poll(self, events: int, timeout: float | None, interrupts: tuple[Interrupt, ...]) -> bool:
        if self._fd < 0:
            raise ClosedError
        poll = select.poll()
        poll.register(self._fd, events)
        for interrupt in interrupts:
            poll.register(interrupt.fileno(), select.POLLIN)
        return bool(poll.poll(None if timeout is None else max(0.0, timeout * 1000)))

    def detach(self) -> int:
        """Give the descriptor away; the queue is closed then, the interface is not."""
        if self._fd < 0:
            raise ClosedError
        fd, self._fd = self._fd, -1
        return fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._closefd:
            os.close(fd)
