"""A tunnel of WireGuard between Python for Windows and Linux: takes root.

namespace A: ping ── TUN ── UDP ── stand-in, wine: aiotun wireguard serve
                                                        │ UDP, veth
namespace B: ping ── TUN ── aiotun wireguard serve, or wireguard-go

The files are made in wine, by `aiotun wireguard pair`; there `aiotun wireguard status` asks over
the named pipe; and ctrl-C ends it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from aiotun.testing import Namespace
from aiotun.wireguard.config_file import parse_config

from .traffic import PORT, bridge, ping, transfer
from .wine import ROOT, end_wine, environment

__all__ = ["tunnel"]

OUTSIDE = "192.0.2.1", "192.0.2.2"
"""Between the two machines."""

MTU = 1420


async def tunnel(folder: Path, *, everything: bool) -> None:
    """Raises `RuntimeError` or `subprocess.CalledProcessError` where something is missing.

    With `everything` all that Windows sends goes into the tunnel.
    """
    async with AsyncExitStack() as stack:
        files = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aiotun-")))
        near, middle, far = (stack.enter_context(Namespace()) for _ in range(3))
        card = _connect(middle, far)
        windows = Windows(folder, middle, files, {"STANDIN_CARD": str(card)})
        pair = [
            "wireguard",
            "pair",
            "--endpoint",
            f"{OUTSIDE[1]}:51820",
            "--network",
            "10.9.0.0/24",
        ]
        pair += ["--network", "fd09::/64", "--server", "linux.conf", "wg0.conf"]
        if everything:  # but IPv6: IPV6_UNICAST_IF's index has its bytes in another order in wine
            pair += ["--allowed-ips", "0.0.0.0/0,fd09::/64"]
        windows.run(*pair)
        config = parse_config((files / "wg0.conf").read_text(), "wg0.conf")
        addresses = parse_config((files / "linux.conf").read_text(), "linux.conf").addresses

        here = await stack.enter_async_context(
            bridge(middle, near, 0, addresses=config.addresses, mtu=MTU)
        )
        linux = far.run(
            subprocess.Popen,
            [sys.executable, "-m", "aiotun", "wireguard", "serve", "--no-uapi", "linux.conf"],
            cwd=files,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        stack.callback(linux.wait)
        stack.callback(linux.terminate)
        serving = windows.start("wireguard", "serve", "--state", ".", "wg0.conf")
        try:
            for _ in range(600):
                if here.peer is not None or serving.poll() is not None:
                    break
                await asyncio.sleep(0.1)
            if here.peer is None:
                serving.kill()
                raise RuntimeError(f"Python for Windows did not begin: {serving.communicate()[0]}")
            hosts = [str(address.ip) for address in addresses]
            own = [str(address.ip) for address in config.addresses]
            await asyncio.to_thread(_send, near, far, hosts, own)
            await asyncio.to_thread(_check_status, windows)
            print(serving.communicate("\n", timeout=60)[0])
            if serving.returncode:
                raise RuntimeError(f"it ended with status {serving.returncode}")
        finally:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(serving.pid, signal.SIGKILL)
            serving.wait()


class Windows:
    """Programs on Python for Windows, in a namespace and a folder.

    Sockets are made by wine's server: so one of its own, in the namespace.
    """

    def __init__(
        self, folder: Path, namespace: Namespace, files: Path, settings: dict[str, str]
    ) -> None:
        self._python = str(folder / "python" / "python.exe")
        self._namespace = namespace
        self._environment = environment(folder) | settings | {"STANDIN_PORT": str(PORT)}
        self._files = files
        end_wine(folder)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The command `aiotun` with these words."""
        return self._namespace.run(
            subprocess.Popen,
            ["wine", self._python, "-m", "tools.windows.standing", *words],
            cwd=self._files,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,  # a pipe, as `wine.pytest` says
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def run(self, *words: str) -> str:
        """The same until it ends; what it printed. Raises `RuntimeError`."""
        with self.start(*words) as process:
            said = process.communicate(timeout=60)[0]
        if process.returncode:
            raise RuntimeError(f"aiotun {' '.join(words)}: {said}")
        return said


def _connect(a: Namespace, b: Namespace) -> int:
    """Join them by Ethernet; the index of the first one's interface."""
    other = f"/proc/{os.getpid()}/fd/{b.fileno()}"
    a.command(
        "ip", *["link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns"], other
    )
    for namespace, address in zip((a, b), OUTSIDE, strict=True):
        namespace.command("ip", "address", "add", f"{address}/24", "dev", "eth0")
        namespace.command("ip", "link", "set", "eth0", "up")
    return a.run(socket.if_nametoindex, "eth0")


def _send(near: Namespace, far: Namespace, hosts: list[str], here: list[str]) -> None:
    for host in hosts:
        ping(near, host)
    for host in here:
        ping(far, host)
    transfer(near, far, hosts[0])


def _check_status(windows: Windows) -> None:
    """Raises `RuntimeError` unless it tells of the peer."""
    status = json.loads(windows.run("wireguard", "status", "--once", "--json", "wg0"))
    (peer,) = status["peers"]
    print(f"status: {json.dumps(peer)}")
    if not peer["last_handshake"] or not peer["received_bytes"]:
        raise RuntimeError("it tells of no handshake")
