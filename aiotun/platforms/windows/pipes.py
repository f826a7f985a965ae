"""Named pipes: overlapped reads and writes that every loop can wait for.

asyncio has pipes on its proactor loop alone, and none with a security descriptor.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import _winapi
import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable

from .security import security_attributes
from .waits import until_set

__all__ = ["PIPES", "Pipe", "open_pipe", "pipe_names", "serving"]

PIPES = "\\\\.\\pipe\\"
"""What the path of each begins with."""

# winbase.h
PIPE_ACCESS_DUPLEX = 3
FILE_FLAG_OVERLAPPED = 0x40000000
FILE_FLAG_FIRST_PIPE_INSTANCE = 0x80000
PIPE_REJECT_REMOTE_CLIENTS = 8
PIPE_UNLIMITED_INSTANCES = 255
GENERIC_READ, GENERIC_WRITE = 0x80000000, 0x40000000
OPEN_EXISTING = 3
SECURITY_ANONYMOUS = 0x100000
"""SECURITY_SQOS_PRESENT: whoever answers learns nothing of us, and cannot act as us."""

# winerror.h
ERROR_PIPE_BUSY = 231
ENDED = (109, 233)
"""ERROR_BROKEN_PIPE, ERROR_PIPE_NOT_CONNECTED: the other end is closed."""

BUFFER = 1 << 16

PAUSE = 0.01
"""Seconds until a pipe is tried again whose ends are all in use, for a moment."""

ACCEPT_PAUSE = 1.0
"""Seconds without accepting once that failed, for want of handles say; asyncio's own of sockets."""


class Pipe:
    """One end of a pipe: a stream of bytes. Raises `OSError` for an end that is gone."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self._buffer = bytearray()

    async def connect(self) -> None:
        """Wait until somebody opens the other end."""
        await _until_done(_winapi.ConnectNamedPipe(self.handle, overlapped=True))

    async def read_until(self, separator: bytes, limit: int) -> bytes:
        """What comes up to the separator, and with it. Raises `asyncio.IncompleteReadError` and
        `asyncio.LimitOverrunError` as `asyncio.StreamReader` does."""
        buffer = self._buffer
        while (at := buffer.find(separator)) < 0:
            if len(buffer) > limit:
                raise asyncio.LimitOverrunError("there is no end", len(buffer))
            data = await self._read()
            if not data:
                raise asyncio.IncompleteReadError(bytes(buffer), None)
            buffer += data
        end = at + len(separator)
        found = bytes(buffer[:end])
        del buffer[:end]
        return found

    async def _read(self) -> bytes:
        """Some bytes; none at the end."""
        try:
            overlapped, _ = _winapi.ReadFile(self.handle, BUFFER, overlapped=True)
            await _until_done(overlapped)
        except OSError as exc:
            if exc.winerror in ENDED:
                return b""
            raise
        return bytes(overlapped.getbuffer() or b"")

    async def write(self, data: bytes) -> None:
        while data:
            overlapped, _ = _winapi.WriteFile(self.handle, data, overlapped=True)
            data = data[await _until_done(overlapped) :]

    def close(self) -> None:
        """What was written stays for the other end to read. Idempotent."""
        handle, self.handle = self.handle, 0
        if handle:
            _winapi.CloseHandle(handle)


async def _until_done(overlapped: _winapi.Overlapped) -> int:
    """Wait for an operation; how many bytes it moved. When cancelled it ends."""
    try:
        await until_set(overlapped.event)
    except BaseException:
        overlapped.cancel()
        overlapped.GetOverlappedResult(True)  # until then the system has the buffer
        raise
    return overlapped.GetOverlappedResult(True)[0]


async def open_pipe(path: str, timeout: float = 2.0) -> Pipe:
    """The pipe of that name, at whose other end somebody serves.

    Raises `OSError`, `TimeoutError` among them if all ends are in use.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        try:
            return Pipe(
                _winapi.CreateFile(
                    path,
                    GENERIC_READ | GENERIC_WRITE,
                    0,
                    _winapi.NULL,
                    OPEN_EXISTING,
                    FILE_FLAG_OVERLAPPED | SECURITY_ANONYMOUS,
                    _winapi.NULL,
                )
            )
        except OSError as exc:
            if exc.winerror != ERROR_PIPE_BUSY:
                raise
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, f"all ends of {path} are in use") from exc
        await asyncio.sleep(PAUSE)


def pipe_names() -> list[str]:
    """Those that there are, as they stand behind `PIPES`. Raises `OSError`."""
    return os.listdir(PIPES)


@contextlib.asynccontextmanager
async def serving(
    path: str, sddl: str, serve: Callable[[Pipe], Awaitable[None]]
) -> AsyncIterator[None]:
    """Call `serve` with each end that somebody opens, many at the same time; then it is closed.

    Nobody else has the pipe's name, none of its clients is on another machine, and the
    descriptor says who may open it. Raises `OSError`, `PermissionError` where the name is taken.
    """
    loop = asyncio.get_running_loop()
    with security_attributes(sddl) as attributes:  # of the name: it holds for all its ends
        first = _listen(path, attributes, FILE_FLAG_FIRST_PIPE_INSTANCE)
    pipes = {first}  # a task that is cancelled before it begins closes nothing
    tasks: set[asyncio.Task[None]] = set()

    async def serve_one(pipe: Pipe) -> None:
        try:
            await serve(pipe)
        finally:
            pipes.discard(pipe)
            pipe.close()

    async def follow() -> Pipe:
        while True:
            try:
                return _listen(path)
            except OSError as exc:
                message = f"nothing is accepted at {path} for {ACCEPT_PAUSE:g} s"
                loop.call_exception_handler({"message": message, "exception": exc})
                await asyncio.sleep(ACCEPT_PAUSE)

    async def accept(pipe: Pipe) -> None:
        while True:
            with contextlib.suppress(OSError):  # it came, and went at once
                await pipe.connect()
            # The next one is there before this one ends: so the name is always ours.
            following = await follow()
            pipes.add(following)
            task = asyncio.ensure_future(serve_one(pipe))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            pipe = following

    accepting = asyncio.ensure_future(accept(first))
    try:
        yield
    finally:
        for task in (accepting, *tasks):
            task.cancel()
        await asyncio.gather(accepting, *tasks, return_exceptions=True)
        for pipe in pipes:
            pipe.close()


def _listen(path: str, security: int = _winapi.NULL, flags: int = 0) -> Pipe:
    return Pipe(
        _winapi.CreateNamedPipe(
            path,
            PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | flags,
            PIPE_REJECT_REMOTE_CLIENTS,
            PIPE_UNLIMITED_INSTANCES,
            BUFFER,
            BUFFER,
            0,
            security,
        )
    )
