"""aiotun demo: the main job on real traffic, in networks of its own."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import platform
import sys
import time
from collections.abc import Callable, Coroutine

from ...offload import implementation
from ...probes import probe
from ...probes.everywhere import UVLOOP
from .. import version
from ..messages import duration
from .display import Display
from .networks import interruptible, prepare, prepare_adapter
from .ping import ping_from_kernel, ping_from_memory
from .transfer import PATHS, Result, TransferError, transfer

if sys.platform == "win32":
    from .ping import ping_from_windows

__all__ = ["add_arguments", "main"]

SECONDS = 3.0
BAR = 24
"""Columns of the longest bar."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seconds",
        type=duration,
        default=SECONDS,
        help=f"time for each of the four measurements (default: {SECONDS:g})",
    )
    parser.add_argument(
        "--memory", action="store_true", help="use the in-memory device although a TUN is possible"
    )


def main(args: argparse.Namespace) -> int:
    """Show it; return 0 if every ping was answered and every byte arrived, else 1."""
    start = time.monotonic()
    display = Display(sys.stdout)
    run, loop = _event_loop()
    display.line(f"aiotun {version()}")
    display.line(
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"{loop}, offload functions: {implementation}"
    )
    show = _in_memory
    if not args.memory:
        if (prepare_adapter if sys.platform == "win32" else prepare)(display):
            show = _in_kernel
        else:
            display.line("Hence without a TUN: a device in memory takes its place.")
    try:
        complete = run(interruptible(show(display, args.seconds)))
    except (asyncio.CancelledError, KeyboardInterrupt):
        display.line("Interrupted.")
        raise KeyboardInterrupt from None
    display.line()
    display.line(f"Done in {time.monotonic() - start:.1f} s; nothing is left behind.")
    return 0 if complete else 1


def _event_loop() -> tuple[Callable[[Coroutine[None, None, bool]], bool], str]:
    """What runs a coroutine on the fastest loop there is, and that loop's name."""
    found = probe("uvloop")
    if not found.available:
        return asyncio.run, "asyncio's own loop"
    return importlib.import_module(UVLOOP).run, found.detail


async def _in_kernel(display: Display, seconds: float) -> bool:
    if sys.platform == "win32":
        display.heading("Ping: echo requests of Windows, answered by a Python protocol")
        return await ping_from_windows(display, seconds)
    display.heading("Ping: echo requests of the kernel, answered by a Python protocol")
    complete = await ping_from_kernel(display, seconds)
    display.heading("TCP between two namespaces, through two TUN devices and a Python protocol")
    display.line("   Every byte is compared on arrival.")
    results = []
    for path in PATHS:
        try:
            result = await transfer(path, seconds, display)
        except TransferError as exc:
            display.row(path.name, str(exc))
            complete = False
        else:
            display.row(path.name, _figures(result))
            results.append(result)
    if results:
        _compare(display, results)
    return complete


async def _in_memory(display: Display, seconds: float) -> bool:
    display.heading("Ping: echo requests from a device in memory, answered by a Python protocol")
    return await ping_from_memory(display, seconds)


def _figures(result: Result) -> str:
    return f"{result.bytes / 1e6:5.0f} MB intact, CPU {result.cpu:.0%}, {result.traffic}"


def _compare(display: Display, results: list[Result]) -> None:
    display.line()
    most = max(result.gbits for result in results)
    for result in results:
        bar = display.bar(result.gbits / most, BAR)
        display.row(result.path.name, f"{result.gbits:5.2f} Gbit/s {bar}  {result.path.meaning}")
    if implementation == "python":
        display.line("   Here Python splits and merges: correct, but slow (see aiotun doctor).")
