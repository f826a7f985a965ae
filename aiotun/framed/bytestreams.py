"""ByteStream: what a framed end needs of a stream of bytes, and asyncio's streams as one."""

from __future__ import annotations

import asyncio
import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from ..errors import BusyError, ClosedError

__all__ = ["AsyncioStream", "ByteStream", "loaded_class", "own_errors"]


class ByteStream(Protocol):
    """A stream of bytes, both ways. anyio's byte streams are such as they stand."""

    async def receive(self, max_bytes: int, /) -> bytes:
        """Some bytes, at most so many, none at the end. A cancelled call loses none."""

    async def send(self, item: bytes, /) -> None:
        """Send all of it, and wait while the other side takes no more."""

    async def send_eof(self) -> None:
        """Say that no more is sent. `NotImplementedError` where only `aclose` can say that."""

    async def aclose(self) -> None:
        """Send what waits, and close; at once when cancelled."""


class AsyncioStream:
    """A `ByteStream` of asyncio's reader and writer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self, max_bytes: int, /) -> bytes:
        return await self._reader.read(max_bytes)

    async def send(self, item: bytes, /) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError(errno.ECONNRESET, "connection lost")
        self._writer.write(item)
        await self._writer.drain()

    async def send_eof(self) -> None:
        if not self._writer.can_write_eof():
            raise NotImplementedError
        self._writer.write_eof()

    async def aclose(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except asyncio.CancelledError:
            self._writer.transport.abort()
            raise

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._writer.get_extra_info(name, default)


@contextmanager
def own_errors() -> Iterator[None]:
    """Raise anyio's errors, and the end of a TLS stream, as aiotun's."""
    try:
        yield
    except Exception as exc:
        for module, name, own in OWN:
            if isinstance(exc, loaded_class(module, name)):
                raise own() from exc
        raise


OWN: list[tuple[str, str, Callable[[], Exception]]] = [
    ("anyio", "EndOfStream", lambda: ClosedError("the other side closed the stream")),
    ("ssl", "SSLZeroReturnError", lambda: ClosedError("the other side closed the stream")),
    ("anyio", "ClosedResourceError", lambda: ClosedError("the stream is closed")),
    (
        "anyio",
        "BrokenResourceError",
        lambda: ConnectionResetError(errno.ECONNRESET, "connection lost"),
    ),
    (
        "anyio",
        "BusyResourceError",
        lambda: BusyError(errno.EBUSY, "another task uses this stream"),
    ),
]


def loaded_class(module: str, name: str) -> Any:
    """A class of a module that need not be there, for `isinstance`: nothing if it is not loaded."""
    return getattr(sys.modules.get(module), name, ())
