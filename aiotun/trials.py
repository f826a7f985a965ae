"""trial: what a process tries once, and remembers, whatever came of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import TypeVar

from .errors import UnsupportedError

__all__ = ["trial"]

T = TypeVar("T")


def trial(attempt: Callable[[], T]) -> Callable[[], T]:
    """What the first call returned or raised, an `UnsupportedError`, the others do too.

    `functools.cache` remembers no exception, and what fails takes as long as what works, or longer.
    """

    @cache
    def outcome() -> T | UnsupportedError:
        try:
            return attempt()
        except UnsupportedError as exc:
            return exc

    @wraps(attempt)
    def tried() -> T:
        found = outcome()
        if isinstance(found, UnsupportedError):
            raise found.with_traceback(None)
        return found

    return tried
