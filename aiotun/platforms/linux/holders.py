"""Which processes have a TUN or TAP open: /proc/PID/fdinfo names the interface of a descriptor."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .remedies import NODE

__all__ = ["Holder", "describe", "holders"]

FIELD = "iff:\t"
"""tun_chr_show_fdinfo (drivers/net/tun.c)."""


class Holder(NamedTuple):
    pid: int
    command: str
    """Its name, as ps(1) shows it."""


def holders() -> dict[str, list[Holder]]:
    """By interface name, the processes that have it open, as far as this one may look.

    That takes a process of the same user, or root. An interface of another network namespace
    may have the same name.
    """
    found: dict[str, list[Holder]] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with suppress(OSError):  # it has ended, or belongs to somebody else
                for name in set(_open_in(process)):
                    command = (process / "comm").read_text(errors="replace").strip()
                    found.setdefault(name, []).append(Holder(int(process.name), command))
    return found


def _open_in(process: Path) -> Iterator[str]:
    for fd in os.listdir(process / "fd"):
        with suppress(OSError):
            if os.readlink(process / "fd" / fd) == NODE:
                for line in (process / "fdinfo" / fd).read_text().splitlines():
                    if line.startswith(FIELD) and line != FIELD:
                        yield line.removeprefix(FIELD)


def describe(name: str) -> str:
    """Who has the interface open, in words; "" where that cannot be seen."""
    found = holders().get(name, [])
    return ", ".join(
        "this process" if pid == os.getpid() else f"{command} (pid {pid})" for pid, command in found
    )
