"""Memory that is refused: one allocation fails, at each place in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

__all__ = ["refused_in_turn"]

CLEAN = 20
"""Calls in which nothing was seen to fail, after which no place is left: some failures are no
exception, where what there is will do."""


def refused_in_turn(call: Callable[[], object]) -> Iterator[BaseException | None]:
    """Call a function again and again, and say each time what it raised.

    In the first call the first allocation fails, in the second one the second, and so on.
    """
    testcapi: Any = pytest.importorskip("_testcapi", reason="CPython's own tests are not here")
    place = clean = 0
    while clean < CLEAN:
        raised: BaseException | None = None
        testcapi.set_nomemory(place, place + 1)
        try:
            call()
        except BaseException as exc:
            testcapi.remove_mem_hooks()
            raised = exc.with_traceback(None)
        finally:
            testcapi.remove_mem_hooks()
        place += 1
        clean = 0 if raised else clean + 1
        yield raised
