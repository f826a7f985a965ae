"""The examples of flows, each as a program of its own, with real connections and real proxies."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from machine import ROOT, Program, settings
from outside import wait_for_listener

import aiotun
from aiotun.testing import Namespace

pytestmark = pytest.mark.requires("tun", "netns")

HOST, PORT = "203.0.113.5", 7777

CLIENT = f"""
import socket, ssl
with socket.create_connection(("{HOST}", {PORT})) as sock:
    sock.sendall(b"hello")
    print("tcp:", sock.recv(100), flush=True)
try:
    socket.create_connection(("{HOST}", {PORT + 1}))
except OSError as exc:
    print("nobody:", type(exc).__name__, flush=True)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(5)
    sock.connect(("{HOST}", {PORT}))
    sock.send(b"hello")
    try:
        print("udp:", sock.recv(100), flush=True)
    except OSError as exc:
        print("udp:", type(exc).__name__, flush=True)
with socket.create_connection(("{HOST}", {PORT})) as sock:
    try:
        ssl.create_default_context().wrap_socket(sock, server_hostname="flow.example")
    except OSError:  # the other end is no server of TLS
        pass
"""

PROXIES = {
    "socks5": "from asyncio_socks_server.__main__ import main; import sys;"
    "sys.argv[1:] = ['--host', '127.0.0.1', '--port', '1080']; main()",
    "http": "import anyio, tiny_proxy\n"
    "async def main():\n"
    "    handler = tiny_proxy.HttpProxyHandler()\n"
    "    listener = await anyio.create_tcp_listener(local_host='127.0.0.1', local_port=1080)\n"
    "    await listener.serve(handler.handle)\n"
    "anyio.run(main)",
}


@contextmanager
def upstream(namespace: Namespace) -> Iterator[None]:
    """A host in the namespace that answers connections and datagrams with the same in capitals."""

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(connection.recv(1000).upper())

    def answer(sock: socket.socket) -> None:
        while True:
            data, addr = sock.recvfrom(1000)
            if not data:
                return
            sock.sendto(data.upper(), addr)

    with (
        namespace.run(aiotun.Device, addresses=[f"{HOST}/32"]),
        namespace.run(socket.create_server, (HOST, PORT)) as listener,
        namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        sock.bind((HOST, PORT))
        threads = [
            threading.Thread(target=serve, args=(listener,)),
            threading.Thread(target=answer, args=(sock,)),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            sock.sendto(b"", (HOST, PORT))
            for thread in threads:
                thread.join()


def start(namespace: Namespace, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-X", "dev", *arguments]
    return namespace.run(subprocess.Popen, command, **settings(), cwd=ROOT)


def test_log(namespace: Namespace) -> None:
    with (
        upstream(namespace),
        Program.running(
            start(namespace, "-m", "examples.flows.log", sys.executable, "-c", CLIENT)
        ) as log,
    ):
        assert log.ended() == 0
    assert "tcp: b'HELLO'" in log.output
    assert "nobody: ConnectionRefusedError" in log.output
    assert "udp: b'HELLO'" in log.output
    assert f"udp {HOST}:{PORT}\n" in log.output
    names = re.findall(rf"^tcp {HOST}:{PORT} (\S+) [0-9.]+ s$", log.output, re.M)
    assert names == ["-", "flow.example"]


@pytest.mark.parametrize("kind", sorted(PROXIES))
def test_proxy(namespace: Namespace, kind: str) -> None:
    with (
        upstream(namespace),
        Program.running(start(namespace, "-W", "ignore", "-c", PROXIES[kind])),
    ):
        wait_for_listener(namespace, 1080)
        command = ["-m", "examples.flows.proxy", f"{kind}://127.0.0.1:1080"]
        with Program.running(start(namespace, *command, sys.executable, "-c", CLIENT)) as proxy:
            assert proxy.ended() == 0
    assert "tcp: b'HELLO'" in proxy.output
    assert "nobody: ConnectionRefusedError" in proxy.output
    answer = "b'HELLO'" if kind == "socks5" else "ConnectionRefusedError"
    assert f"udp: {answer}" in proxy.output


def test_page(namespace: Namespace) -> None:
    with Program.running(start(namespace, "-m", "examples.flows.page")) as page:
        page.wait_for("there is a page at each address")
        for host in ("198.51.100.7", "198.51.100.77"):
            with namespace.run(socket.create_connection, (host, 80)) as sock:
                sock.sendall(b"GET /any/<thing> HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b"".join(iter(lambda: sock.recv(1000), b"")).decode()
            head, _, body = answer.partition("\r\n\r\n")
            assert head.startswith("HTTP/1.1 200 OK\r\n")
            assert f"<h1>{host}:80</h1>" in body
            assert "GET /any/&lt;thing&gt; HTTP/1.1" in body
            assert f"Content-Length: {len(body)}" in head
        with pytest.raises(ConnectionRefusedError):
            namespace.run(socket.create_connection, ("198.51.100.7", 81))
        page.end(signal.SIGINT)
