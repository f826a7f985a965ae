"""A stream of bytes on descriptors: a pipe, a pseudo-terminal, a serial line."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import asyncio
import errno
import os
from collections.abc import Callable

from ..errors import ClosedError

__all__ = ["DescriptorStream"]


class DescriptorStream:
    """A `ByteStream` on `add_reader` and `add_writer`, which every loop of a Unix has."""

    def __init__(self, reading: int, writing: int) -> None:
        self._blocked = {fd: os.get_blocking(fd) for fd in (reading, writing)}
        self.closefd = False
        """Whether the descriptors end with it; else they block again if they did before."""
        self._reader, self._writer = _Wait(reading), _Wait(writing)
        self._is_terminal = os.isatty(reading)
        for fd in self._blocked:
            os.set_blocking(fd, False)

    async def receive(self, max_bytes: int, /) -> bytes:
        # A terminal with VMIN 0 (termios(3)), as pyserial sets it, gives nothing while nothing
        # waits: only where it was readable is that the end.
        nothing_ends = not self._is_terminal
        while True:
            self._check(self._reader)
            try:
                data = os.read(self._reader.fd, max_bytes)
                if data or nothing_ends:
                    return data
            except BlockingIOError:
                pass
            except OSError as exc:
                if exc.errno == errno.EIO:  # a terminal whose other side nobody has open
                    return b""
                raise
            loop = asyncio.get_running_loop()
            await self._reader.until(loop.add_reader, loop.remove_reader)
            nothing_ends = True

    async def send(self, item: bytes, /) -> None:
        view = memoryview(item)
        while view:
            self._check(self._writer)
            try:
                view = view[os.write(self._writer.fd, view) :]
            except BlockingIOError:
                loop = asyncio.get_running_loop()
                await self._writer.until(loop.add_writer, loop.remove_writer)

    async def send_eof(self) -> None:
        if self._writer.fd == self._reader.fd:
            raise NotImplementedError
        self._close(self._writer)

    async def aclose(self) -> None:
        self._writer.end()  # both may be one descriptor, which nobody is to watch once it is closed
        self._close(self._reader)
        self._close(self._writer)

    def _check(self, side: _Wait) -> None:
        if side.fd not in self._blocked:
            raise ClosedError("the stream is closed")

    def _close(self, side: _Wait) -> None:
        side.end()
        blocked = self._blocked.pop(side.fd, None)
        if blocked is not None:
            if self.closefd:
                os.close(side.fd)
            else:
                os.set_blocking(side.fd, blocked)


class _Wait:
    """How the one task that reads, or writes, waits for its descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.end: Callable[[], object] = lambda: None
        """Let it go on, and watch the descriptor no more."""

    async def until(self, add: Callable[..., object], remove: Callable[[int], object]) -> None:
        """Wait until the loop says that the descriptor is ready, or `end` is called."""
        ready = asyncio.get_running_loop().create_future()

        def end() -> None:
            if not ready.done():
                ready.set_result(None)
            self.end = lambda: None
            remove(self.fd)  # before anybody closes it, who may give its number to another

        self.end = end
        add(self.fd, end)
        try:
            await ready
        finally:
            if self.end is end:  # cancelled
                end()
