"""A device with flows in a namespace of its own, and clients there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import aiotun
from aiotun.testing.namespace import Namespace

__all__ = ["HOST", "FlowNet", "echo", "flow_net"]

HOST = {4: "203.0.113.5", 6: "2001:db8::5"}
"""Somewhere beyond the device."""

SETTINGS: dict[str, Any] = {
    "addresses": ["10.9.0.1/24", "fd09::1/64"],
    "routes": ["0.0.0.0/0", "::/0"],
    "ipv6_quiet": True,
}


class FlowNet:
    """The network of the clients: everything beyond it lies behind the device."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace

    def device(self, **settings: Any) -> aiotun.Device:
        """A device whose addresses are in use."""
        import outside  # of Linux

        device = self.namespace.run(aiotun.Device, **{**SETTINGS, **settings})
        outside.wait_for_routes(self.namespace, device)
        return device

    def proc_net(self, name: str) -> str:
        """A file of /proc/net as this namespace has it."""
        return self.namespace.run(Path("/proc/thread-self/net", name).read_text)

    def open_socket(self, version: int = 4, kind: int = socket.SOCK_STREAM) -> socket.socket:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        sock = self.namespace.run(socket.socket, family, kind)
        sock.setblocking(False)
        return sock

    async def connect(
        self, host: str = HOST[4], port: int = 80
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        sock = self.open_socket(6 if ":" in host else 4)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        return await asyncio.open_connection(sock=sock)

    @asynccontextmanager
    async def udp(self, host: str = HOST[4], port: int = 5000) -> AsyncIterator[socket.socket]:
        """A connected socket."""
        with self.open_socket(6 if ":" in host else 4, socket.SOCK_DGRAM) as sock:
            sock.connect((host, port))
            yield sock

    def checksum_errors(self) -> dict[str, int]:
        """What this namespace's kernel counted: packets of ours with a wrong checksum."""
        found = {}
        lines = self.proc_net("snmp").splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            layer, _, rest = names.partition(":")
            fields = dict(zip(rest.split(), values.partition(":")[2].split(), strict=True))
            found.update(
                {layer + name: int(fields[name]) for name in fields if "CsumErrors" in name}
            )
        for line in self.proc_net("snmp6").splitlines():
            name, value = line.split()
            if "CsumErrors" in name:
                found[name] = int(value)
        return found


@pytest.fixture
def flow_net(namespace: Namespace, no_leaks: None) -> Iterator[FlowNet]:
    net = FlowNet(namespace)
    yield net
    errors = net.checksum_errors()
    assert len(errors) >= 4
    assert not any(errors.values()), errors


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, to the end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
    writer.close()
