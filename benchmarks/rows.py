"""The rows of the benchmark: each is one way to forward between two TUN devices."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiotun
from aiotun.probes import probe

from .programs import PROGRAMS

__all__ = ["BASELINE", "LOOPS", "ROWS", "TUN_RS_OFFLOAD", "Row"]

LOOPS = ("asyncio", "uvloop")
"""Those for which something must hold."""

ALL_LOOPS = (*LOOPS, "rloop")


@dataclass(frozen=True)
class Row:
    program: str
    """A key of `PROGRAMS`."""
    title: str
    arguments: tuple[str, ...]
    peer: str | None = None
    """The row that it is to hold its own against."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        return self.program == "aiotun"

    @property
    def command(self) -> tuple[str, ...]:
        return (*PROGRAMS[self.program].command, *self.arguments)

    def missing(self) -> str | None:
        """What is not there yet that the row needs beside its program."""
        if "uvloop" in self.arguments and not probe("uvloop").available:
            return probe("uvloop").detail
        if "rloop" in self.arguments and importlib.util.find_spec("rloop") is None:
            return "the Python package rloop is not installed"
        if "relay" in self.arguments and not hasattr(aiotun, "relay"):
            return "aiotun.relay is not there"
        return None


def _ours(
    name: str, title: str, peer: str, *arguments: str, loops: tuple[str, ...] = LOOPS
) -> dict[str, Row]:
    return {
        f"{name}-{loop}": Row(
            "aiotun", f"aiotun, {title}, {loop}", (*arguments, "--loop", loop), peer
        )
        for loop in loops
    }


def _tun_rs(mode: str, title: str) -> dict[str, Row]:
    return {f"tun-rs-{mode}": Row("tun-rs", f"tun-rs, {title}", (mode,))}


ROWS: dict[str, Row] = {
    **_ours("super", "super-packets by hand", "c-offload", "super"),
    **_ours("relay", "super-packets by relay", "c-offload", "relay"),
    **_ours("batch", "one call a batch", "tun-rs-async-one-thread-offload", "batch"),
    **_ours("packet", "one call a packet", "tun-rs-async-offload", "packet", loops=ALL_LOOPS),
    **_ours("plain", "no offload", "tun-rs-async-plain", "packet", "--no-offload", loops=ALL_LOOPS),
    **_ours("framed", "framed ends by relay", "tun-rs-framed-offload", "framed"),
    **_ours("items", "framed ends, one await an item", "tun-rs-framed-offload", "items"),
    **_ours(
        "framed-plain",
        "framed ends by relay, no offload",
        "tun-rs-framed-plain",
        *("framed", "--no-offload"),
    ),
    **_ours(
        "queues",
        "one call a packet, two queues in two threads",
        "tun-rs-async-offload",
        *("packet", "--queues", "2"),
    ),
    "sync": Row(
        "aiotun", "aiotun, no loop, a thread a direction", ("sync",), "tun-rs-sync-offload"
    ),
    "sync-plain": Row(
        "aiotun",
        "aiotun, no loop, a thread a direction, no offload",
        ("sync", "--no-offload"),
        "tun-rs-sync-plain",
    ),
    "pure-asyncio": Row(
        "aiotun",
        "aiotun, one call a packet, pure Python, asyncio",
        ("packet", "--loop", "asyncio"),
        "tun-rs-async-offload",
        {"AIOTUN_PURE": "1"},
    ),
    **_tun_rs("async-offload", "async, offload"),
    **_tun_rs("async-one-thread-offload", "async, offload, one thread"),
    **_tun_rs("sync-offload", "sync, offload"),
    **_tun_rs("sync-two-threads-offload", "sync, offload, two threads a direction"),
    **_tun_rs("framed-offload", "framed, offload"),
    **_tun_rs("framed-one-thread-offload", "framed, offload, one thread"),
    **_tun_rs("async-plain", "async, no offload"),
    **_tun_rs("async-one-thread-plain", "async, no offload, one thread"),
    **_tun_rs("framed-plain", "framed, no offload"),
    **_tun_rs("framed-one-thread-plain", "framed, no offload, one thread"),
    **_tun_rs("sync-plain", "sync, no offload"),
    "wireguard-go-offload": Row("wireguard-go", "wireguard-go's tun, offload", ("offload",)),
    "wireguard-go-plain": Row("wireguard-go", "wireguard-go's tun, no offload", ("plain",)),
    "c-offload": Row("c", "C, epoll, super-packets passed through", ("offload",)),
    "c-plain": Row("c", "C, epoll, no offload", ("plain",)),
    "c-two-threads-plain": Row(
        "c", "C, a thread a direction, no offload", ("two-threads-plain",), "tun-rs-async-plain"
    ),
    "asyncssh": Row(
        "asyncssh", "asyncssh's TUN transport, no offload, asyncio", (), "tun-rs-async-plain"
    ),
}
"""By the name that `--rows` takes."""

BASELINE = "tun-rs-async-offload"
"""What every row is compared with."""

TUN_RS_OFFLOAD = tuple(name for name in ROWS if name.startswith("tun-rs") and "offload" in name)
