"""TappedQueue: a queue whose frames somebody watches."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from ..interrupt import Interrupt
from .base import Queue

__all__ = ["Tap", "TappedQueue"]


class Tap(ABC):
    """What watches a queue. Any thread may call it, with frames as `Queue` has them.

    Times are in nanoseconds since 1970. It must not raise, and must not keep the caller long.
    """

    @abstractmethod
    def frame_read(self, frame: bytes, time: int) -> None:
        """The program read a frame."""

    @abstractmethod
    def frame_written(self, frame: bytes, time: int, refused: OSError | None) -> None:
        """The program wrote a frame, and the system took or refused it."""


class TappedQueue(Queue):
    """Reads and writes as the queue below, and tells the tap of each frame.

    It is never `direct`: native code would read and write past the tap.
    """

    def __init__(self, queue: Queue, tap: Tap) -> None:
        self.below = queue
        self.tap = tap
        self.layer = queue.layer
        self.vnet_hdr = queue.vnet_hdr
        self.tcp_offload = queue.tcp_offload
        self.udp_offload = queue.udp_offload

    def read(self) -> bytes:
        frame = self.below.read()
        self.tap.frame_read(frame, time.time_ns())
        return frame

    def write(self, frame: bytes) -> None:
        now = time.time_ns()
        try:
            self.below.write(frame)
        except BlockingIOError:  # it will be written again
            raise
        except OSError as exc:
            self.tap.frame_written(frame, now, exc)
            raise
        self.tap.frame_written(frame, now, None)

    def wait_readable(self, timeout: float | None, *interrupts: Interrupt) -> bool:
        return self.below.wait_readable(timeout, *interrupts)

    def wait_writable(self, timeout: float | None, *interrupts: Interrupt) -> bool:
        return self.below.wait_writable(timeout, *interrupts)

    def fileno(self) -> int:
        return self.below.fileno()

    def detach(self) -> int:
        return self.below.detach()

    def close(self) -> None:
        self.below.close()
