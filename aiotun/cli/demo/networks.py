"""Measuring in networks of its own, and an orderly end when interrupted."""

from __future__ import annotations

import asyncio
import platform
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from ...probes import Capability, names, probe
from ...testing import become_root
from .display import Display

__all__ = ["interruptible", "prepare", "prepare_adapter"]

T = TypeVar("T")


async def interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Let SIGINT cancel it, as loops do by themselves from Python 3.11 on.

    A KeyboardInterrupt may come up anywhere: between the start of a process and taking
    note of it, which would leave that process behind.
    """
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows' own loops
        loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        return await work
    finally:
        with suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)  # winloop leaves it behind


def prepare(display: Display) -> bool:
    """Whether this process can have TUN devices in namespaces; what it takes is done then."""
    if "tun" not in names():
        display.line(f"aiotun opens no devices on {platform.system()}.")
        return False
    if "netns" not in names():
        display.line(f"{platform.system()} has no network namespaces for it to stay in.")
        return False
    needed = [probe("tun"), probe("netns")]
    if all(capability.available for capability in needed):
        display.line(
            "In network namespaces of its own: the network of this machine is not touched."
        )
        return True
    userns = probe("userns")
    if userns.available:
        become_root()
        display.line("In network namespaces of its own, as root of a user namespace.")
        return True
    display.line()
    if probe("tun-node").available:
        needed.append(userns)
    for capability in needed:
        if not capability.available:
            _explain(display, capability)
    return False


def prepare_adapter(display: Display) -> bool:
    """Whether this process can have an adapter on Windows, where it is the whole machine's."""
    needed = [probe("admin"), probe("wintun"), probe("tun")]
    if needed[-1].available:
        display.line("On an adapter of Wintun, which this machine has meanwhile.")
        return True
    for capability in needed:
        if not capability.available:
            _explain(display, capability)
    return False


def _explain(display: Display, missing: Capability) -> None:
    display.line(f"{missing.name}: {missing.detail}")
    for remedy in missing.remedies:
        display.line(f"  -> {remedy}")
