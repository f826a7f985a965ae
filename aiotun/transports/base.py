"""MessageTransport: what the transports of packets and of datagrams have in common."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from ..cancelling import AsyncClosing, despite_cancellation
from ..lease import Lendable
from ..protocols import Callbacks
from ..throttle import Throttle

__all__ = ["MessageTransport", "Uses"]

logger = logging.getLogger("aiotun")

HIGH_WATER = 1024
"""Messages that wait for what pushes back, before the protocol is paused."""


class Uses(Protocol):
    """What counts the calls that read or write what is below, one within the other."""

    uses: int


class MessageTransport(AsyncClosing, Lendable, asyncio.BaseTransport):
    """Calls its protocol, pauses and resumes it, and ends once. Counts messages, not bytes."""

    _busy = "another relay or framed end has this transport"

    _noun: ClassVar[str]
    """What a message is called."""
    _protocol_kind: ClassVar[type[Callbacks]]
    """What a protocol has to be an instance of."""

    def __init__(self, loop: asyncio.AbstractEventLoop, infos: dict[str, Any]) -> None:
        super().__init__()
        self._loop = loop
        self._infos = infos
        self._paused = False
        self._high, self._low = HIGH_WATER, HIGH_WATER // 4
        self._protocol_paused = False
        self._warned = False
        self._complaints = Throttle()
        self._closed: asyncio.Future[Exception | None] = loop.create_future()
        self._early: list[tuple[Any, ...]] | None = []
        """Callbacks with their arguments, for which `connection_made` comes first; then None."""
        self._finished = False
        self._failure: Exception | None = None
        """What ended it, from then on; `connection_lost` tells it when all is closed."""
        self._to_release: Callable[[], None] | None = None

    async def _start(self) -> None:
        """Call `connection_made`, then read; to be called once.

        When cancelled, nothing is left behind.
        """
        try:
            await self._open()
            self._start_soon()
            await asyncio.sleep(0)  # it is called meanwhile
        except asyncio.CancelledError:
            self.abort()
            await despite_cancellation(self.aclose())
            raise

    def _start_soon(self) -> None:
        """Let the loop call `connection_made`, and read then; to be called once."""

        def start() -> None:
            try:
                self._call_now("connection_made", self)
                while self._early:
                    self._call_now(*self._early.pop(0))
            finally:
                self._early = None
            if not self.is_closing():
                self._begin()

        self._loop.call_soon(start)

    async def _open(self) -> None:
        """Get ready for all that follows."""

    def _begin(self) -> None:
        """The protocol has heard of the transport: watch and read."""
        self._resume()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._infos.get(name, default)

    def __repr__(self) -> str:
        state = "closed" if self._finished else "closing" if self.is_closing() else "open"
        return f"<{type(self).__name__} {self._label()} {state}>"

    @abstractmethod
    def _label(self) -> object:
        """A name that tells this transport from others of its kind."""

    # Reading.

    @abstractmethod
    def pause_reading(self) -> None: ...

    def is_reading(self) -> bool:
        return not (self._paused or self.is_closing())

    def resume_reading(self) -> None:
        if self._paused and not self.is_closing():
            self._loop.call_soon(self._resume)
            self._paused = False

    @abstractmethod
    def _resume(self) -> None:
        """Read, unless reading was paused again."""

    # Writing.

    @abstractmethod
    def flush(self) -> None:
        """Hand over what gathered for the end of the tick."""

    @property
    @abstractmethod
    def turns(self) -> int:
        """Ticks in which something was written that have ended."""

    @abstractmethod
    def get_write_buffer_size(self) -> int: ...

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Low and high water mark, in packets or datagrams."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks, in packets or datagrams, between which the protocol is paused and resumed.

        It is paused or resumed at once where the new marks ask for it. Defaults as
        in asyncio: `low` is a quarter of `high`. Raises `ValueError` unless
        high >= low >= 0. They matter where a device or a socket pushes back;
        Linux' TUN takes all that is written and drops what its reader does not take.
        """
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be at least low ({low}), and low at least 0")
        self._high, self._low = high, low
        if self.get_write_buffer_size() > high:
            self.flush()  # messages that only wait for the end of the tick pause nobody
        self._pause_protocol()
        self._resume_protocol()

    def _pause_protocol(self) -> None:
        """Pause the protocol if too much waits. Called when something new waits."""
        if self._finished or self._protocol_paused:
            return
        if self.get_write_buffer_size() > self._high:
            self._protocol_paused = True
            self._call("pause_writing")

    def _resume_protocol(self) -> None:
        """Resume the protocol if little enough waits. Called when less waits."""
        if self._protocol_paused and not self._has_backlog():
            self.flush()  # nothing calls this again for what only waits for the end of the tick
        if self._protocol_paused and self.get_write_buffer_size() <= self._low:
            self._protocol_paused = False
            self._call("resume_writing")

    def _write_ready(self) -> None:
        """For the subclass to call when what pushed back takes more."""
        if self._finished:
            return
        self._port.uses += 1
        try:
            self._write_backlog()
            if not self._finished:
                if not self._has_backlog():
                    self._unwatch_writable()
                self._resume_protocol()
        finally:
            self._leave()

    @abstractmethod
    def _has_backlog(self) -> bool:
        """Whether something waits for what pushes back."""

    @abstractmethod
    def _write_backlog(self) -> None:
        """Write that, as far as it is taken."""

    def _warn_late(self) -> None:
        """Log once that something was written after the end, and dropped."""
        if not self._warned:
            self._warned = True
            logger.warning(
                "%r got a %s after it was closed: dropped, like all others", self, self._noun
            )

    # The end.

    def close(self) -> None:
        """Send what waits, close what is below, then call `connection_lost`."""
        if self.is_closing():
            return
        self.flush()
        self._stop()
        if self._port.uses or self._has_backlog():
            self._unwatch_readable()
        else:
            self._finish(None)

    def abort(self) -> None:
        """Like `close`, without sending what waits: it is dropped, and counted."""
        self._end(None)

    async def wait_closed(self) -> None:
        """Wait until `connection_lost` was called, and nothing is open any more.

        Raises what `connection_lost` was told, such as `InterfaceGoneError`.
        """
        exc = await asyncio.shield(self._closed)
        if exc is not None:
            raise exc.with_traceback(None)  # it grows with each raise

    async def aclose(self) -> None:
        """Close, send what waits, and wait until nothing is open any more.

        When cancelled, this drops what waits, and raises once nothing is open.
        """
        self.close()
        try:
            await asyncio.shield(self._closed)
        except asyncio.CancelledError:
            self.abort()
            await despite_cancellation(self._closed)
            raise

    def _end(self, exc: Exception | None) -> None:
        """Finish without sending what waits."""
        self._stop()
        self._finish(exc)

    @abstractmethod
    def _stop(self) -> None:
        """Be closing: read and take nothing more."""

    @abstractmethod
    def _drop(self) -> None:
        """Forget, and count, what was written and waits."""

    def _finish(self, exc: Exception | None) -> None:
        if not self._finished:
            self._finished = True
            self._failure = exc
            self._to_release = functools.partial(self._release, functools.partial(self._lost, exc))
            self._unwatch()
            if not self._port.uses:
                self._unused()

    # A call that reads or writes may end the transport: by a callback, or when a finalizer or a
    # signal handler runs within it. What is below stays open until that call is over.

    _port: Uses
    """The subclass sets it first."""

    def _leave(self) -> None:
        """Such a call is over."""
        self._port.uses -= 1
        if not self._port.uses and self.is_closing():
            self._unused()

    def _unused(self) -> None:
        """The transport is closing, and no call uses what is below any more."""
        if not self._finished:
            if not self._has_backlog():
                self._finish(None)
        elif self._to_release is not None:
            release, self._to_release = self._to_release, None
            self._drop()
            release()

    @abstractmethod
    def _release(self, released: Callable[[], None]) -> None:
        """Close what is below, then have the loop call `released`."""

    def _lost(self, exc: Exception | None) -> None:
        try:
            if self._early is None:
                self._call("connection_lost", exc)
        finally:
            self._closed.set_result(exc)

    def __del__(self) -> None:
        if not getattr(self, "_finished", True):
            message = f"unclosed transport {self!r}"
            try:
                warnings.warn(message, ResourceWarning, stacklevel=2, source=self)
            finally:  # it raises where warnings are errors
                self._abandon()

    @abstractmethod
    def _abandon(self) -> None:
        """Close what the transport holds: it was forgotten without being closed."""

    # The protocol's callbacks.

    def _check_protocol(self, protocol: object) -> None:
        """Raise `TypeError` unless it is of the right kind, and each callback a plain function."""
        kind, given = self._kind_of(protocol), type(protocol).__name__
        if not isinstance(protocol, kind):
            raise TypeError(f"{given} is no {kind.__name__}, which this transport needs")
        for name in dir(kind):
            callback = None if name.startswith("_") else getattr(protocol, name)
            if inspect.iscoroutinefunction(callback) or inspect.isasyncgenfunction(callback):
                raise TypeError(
                    f"{given}.{name} is an async def, but callbacks are not awaited: "
                    "make it a def that starts a task"
                )

    def _kind_of(self, protocol: object) -> type:
        """What it has to be."""
        return self._protocol_kind

    def _call(self, callback: str, *args: object) -> None:
        if self._early is None:
            self._call_now(callback, *args)
        else:
            self._early.append((callback, *args))

    def _call_now(self, callback: str, *args: object) -> None:
        try:
            getattr(self.get_protocol(), callback)(*args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._complain(exc, callback)

    def _complain(self, exc: BaseException, where: str) -> None:
        held_back = self._complaints.admit((where, type(exc)))
        if held_back is None:
            return
        others = f" (and {held_back} more before it)" if held_back else ""
        self._loop.call_exception_handler(
            {
                "message": f"exception in {where} of {self!r}{others}",
                "exception": exc,
                "transport": self,
                "protocol": self.get_protocol(),
            }
        )

    # How a subclass learns that something can be read or written. Watching twice is the
    # same as once, and what is watched for is not called from within these methods.

    @abstractmethod
    def _watch_readable(self) -> None: ...

    @abstractmethod
    def _unwatch_readable(self) -> None: ...

    @abstractmethod
    def _watch_writable(self) -> None: ...

    @abstractmethod
    def _unwatch_writable(self) -> None: ...

    def _unwatch(self) -> None:
        """Watch nothing any more: what is below is about to be closed."""
        self._unwatch_readable()
        self._unwatch_writable()
