"""How `with` blocks close what they use, and how a cancelled task waits to the end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, SupportsIndex, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AsyncClosing", "Closing", "Opening", "despite_cancellation", "end"]

CANCEL_AGAIN = 1.0
"""Seconds that a cancelled task may take to end."""

T = TypeVar("T")
AsyncClosingT = TypeVar("AsyncClosingT", bound="AsyncClosing")


class Sole:
    """It has what it closes to itself: what a copy closes would be closed here."""

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be copied or pickled: it has to itself what it closes"
        )


class Closing(Sole, ABC):
    """To be used with `with`."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClosing(Sole, ABC):
    """To be used with `async with`.

    A cancellation ends the block, and then closing may wait: nobody cancels that wait a
    second time. So closing has limited time if an exception ended the block.
    """

    linger: ClassVar[float | None] = 1.0
    """Seconds in which what was sent may still leave after an exception."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close, after sending what waits; without waiting for that when cancelled."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            await self.aclose()
        else:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.aclose(), self.linger)


class Opening(Awaitable[AsyncClosingT]):
    """Something that is being opened: to be awaited, or entered with `async with`, once."""

    def __init__(self, opening: Callable[[], Coroutine[Any, Any, AsyncClosingT]]) -> None:
        self._opening = opening

    def __await__(self) -> Generator[Any, None, AsyncClosingT]:
        return self._opening().__await__()

    async def __aenter__(self) -> AsyncClosingT:
        self._opened = await self
        return self._opened

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._opened.__aexit__(exc_type, exc, traceback)


async def despite_cancellation(awaited: Awaitable[T]) -> T:
    """Wait to the end in any case; a cancellation that came meanwhile is raised then."""
    future = asyncio.ensure_future(awaited)
    cancelled = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        raise cancelled
    return future.result()


async def end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel them, and again where that does not end them.

    Before Python 3.12 `asyncio.wait_for`, by which libraries wait, forgets a cancellation that
    comes at the moment when it has its result (CPython's issue 81839).
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN)
