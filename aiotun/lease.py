"""Lease: the sole use of a device, a transport or a framed end."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from .cancelling import Closing
from .errors import BusyError

if TYPE_CHECKING:
    from .transports.base import MessageTransport

__all__ = ["Lease", "Lendable", "TransportLease"]


class Lendable:
    """Something that one borrower at a time has the use of."""

    _busy: ClassVar[str]
    """What a second one is told."""
    _lease: Lease[Lendable] | None = None

    def _check_free(self) -> None:
        """Raise `BusyError` while it is lent."""
        if self._lease is not None:
            raise BusyError(errno.EBUSY, self._busy)


LentT = TypeVar("LentT", bound=Lendable, covariant=True)


class Lease(Closing, Generic[LentT]):
    """The use of `lent`, which goes back by `close`. Raises `BusyError` while another has it."""

    def __init__(self, lent: LentT) -> None:
        lent._check_free()
        lent._lease = self
        self.lent = lent

    def close(self) -> None:
        self.lent._lease = None


TransportT = TypeVar("TransportT", bound="MessageTransport")


class TransportLease(Lease[TransportT]):
    """A transport in other hands; it goes back to its protocol, reading or paused as it was."""

    def __init__(self, transport: TransportT) -> None:
        super().__init__(transport)
        self.protocol: Any = transport.get_protocol()
        self._was_reading = transport.is_reading()

    def close(self) -> None:
        super().close()
        self.lent.set_protocol(self.protocol)
        if self._was_reading:
            self.lent.resume_reading()
        else:
            self.lent.pause_reading()
