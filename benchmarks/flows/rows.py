"""The rows: who terminates connections out of a TUN, and what each is held against."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

from ..programs import PEERS, Program

__all__ = ["ADDRESS", "DEVICE", "PROXY", "ROWS", "Row"]

DEVICE = "flow0"

ADDRESS = "10.9.0.1/24"

PROXY = "socks5://127.0.0.1:1080"
"""Of `sink.py`."""


@dataclass(frozen=True)
class Row:
    program: Program
    peers: tuple[str, ...] = ()
    behind: bool = False
    """Whether it makes each flow again, to the proxy, or answers it itself."""
    datagrams: bool = True
    """Whether it passes UDP on."""
    prints: str | None = "ready"
    """What it prints at the end of its start; None if only its interface tells."""


def _ours(loop: str, *, behind: bool) -> Row:
    title = f"aiotun{' as an exit' if behind else ''}, {loop}"
    command = (sys.executable, "-m", "benchmarks.flows.ours", loop, *("exit",) * behind)
    row = Row(Program(title, command), ("mitmproxy_rs",))
    return replace(row, peers=("tun2socks", "sing-tun"), behind=True) if behind else row


def _go(title: str, folder: str, binary: str, package: str, *arguments: str) -> Program:
    source, target = PEERS / folder, f"target/{binary}"
    build = ("go", "build", "-o", target, package)
    return Program(title, (str(source / target), *arguments), source, build)


ROWS = {
    "asyncio": _ours("asyncio", behind=False),
    "uvloop": _ours("uvloop", behind=False),
    "mitmproxy_rs": Row(
        Program(
            "mitmproxy_rs",
            (sys.executable, "-m", "benchmarks.flows.mitmproxy_peer"),
            module="mitmproxy_rs",
        )
    ),
    "exit-asyncio": _ours("asyncio", behind=True),
    "exit-uvloop": _ours("uvloop", behind=True),
    "tun2socks": Row(
        _go(
            "tun2socks",
            "tun2socks",
            "tun2socks",
            "github.com/xjasonlyu/tun2socks/v2",
            *("-device", f"tun://{DEVICE}", "-proxy", PROXY, "-loglevel", "error"),
        ),
        behind=True,
        prints=None,
    ),
    "sing-tun": Row(
        _go("sing-tun, system stack", "sing-tun", "exit", ".", DEVICE, ADDRESS, PROXY),
        behind=True,
        datagrams=False,  # v0.7.3 leaves ten bytes before a datagram's packet: EINVAL (strace)
    ),
}
"""The peers make their own device as well, which is given the same address and routes."""
