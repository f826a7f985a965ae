"""What a probe is asked for, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Capability", "Missing", "Probe"]


@dataclass(frozen=True)
class Capability:
    """The answer of one probe."""

    name: str
    available: bool
    detail: str
    """What was found, or why it is not there, in plain words."""
    remedies: tuple[str, ...] = ()
    """What to do to get it: one of these helps. Empty when it is available."""


class Missing(Exception):
    """Raised by a probe: why the thing is not there, and what one can do about it."""

    def __init__(self, detail: str, *remedies: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedies = remedies


@dataclass(frozen=True)
class Probe:
    """One thing to find out by trying it."""

    attempt: Callable[[], str]
    """Returns the detail of what is available. Raises `Missing`."""
    needs: str | None = None
    """The name of another probe. This one is tried only if that one succeeded."""
