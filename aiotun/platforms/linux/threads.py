"""Calling a function in a thread of its own, whose namespaces end with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_thread"]

T = TypeVar("T")


def in_thread(function: Callable[[], T]) -> T:
    """Call the function in a new thread, and wait. Returns and raises what the function does."""
    result: list[T] = []
    error: list[BaseException] = []

    def call() -> None:
        try:
            result.append(function())
        except BaseException as exc:
            error.append(exc)

    thread = threading.Thread(target=call, name="aiotun-namespace")
    thread.start()
    thread.join()
    if error:
        raise error[0]
    return result[0]
