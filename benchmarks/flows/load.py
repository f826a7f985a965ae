"""The clients: `python -m benchmarks.flows.load WORKLOAD SECONDS` prints its metrics as JSON.

The first byte of a connection says what the other end does: take all, send all, or echo.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable

__all__ = ["ECHO", "HOST", "SINK", "SOURCE", "WORKLOADS"]

HOST = "203.0.113.5"
SINK, SOURCE, ECHO = b"s", b"d", b"e"

CHUNK = bytes(1 << 16)

OUTSTANDING = 64
"""Datagrams that are under way, at most."""

IN_PARALLEL = 8


RATE = 1000
"""Connections that are begun in a second."""

PATIENCE = 5.0
"""Seconds that such a connection may take."""


def connect(first: bytes) -> socket.socket:
    """What goes out first begins with the kind. In one segment: two short ones would measure how
    long the other end takes to acknowledge (Nagle's algorithm)."""
    sock = socket.create_connection((HOST, 80), timeout=10)
    sock.sendall(first)
    return sock


def upload(seconds: float) -> dict[str, float]:
    """Bytes that the other end has taken: it answers with their number."""
    with connect(SINK) as sock:
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            sock.sendall(CHUNK)
        sock.shutdown(socket.SHUT_WR)
        taken = int(b"".join(iter(lambda: sock.recv(100), b"")))
        return {"throughput": taken * 8e-9 / (time.perf_counter() - start)}


def download(seconds: float) -> dict[str, float]:
    received = 0
    with connect(SOURCE) as sock:
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            received += len(sock.recv(1 << 18))
    return {"throughput": received * 8e-9 / elapsed}


def eight(seconds: float) -> dict[str, float]:
    """Eight uploads at the same time."""
    results: list[float] = []
    threads = [
        threading.Thread(target=lambda: results.append(upload(seconds)["throughput"]))
        for _ in range(IN_PARALLEL)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(results) < IN_PARALLEL:
        raise ConnectionError("not all flows came to their end")
    return {"throughput": sum(results)}


def connections(seconds: float) -> dict[str, float]:
    """One after the other: connect, a byte there and back, close."""
    count = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        with connect(ECHO + b"x") as sock:
            if sock.recv(1) != b"x":
                raise ConnectionError("no echo")
        count += 1
    return {"per_second": count / elapsed}


def paced(seconds: float) -> dict[str, float]:
    """The same at a steady rate, however many are open: how many succeed, and how fast."""

    async def connection() -> float:
        start = time.perf_counter()
        reader, writer = await asyncio.open_connection(HOST, 80)
        writer.write(ECHO + b"x")
        await reader.readexactly(1)
        writer.close()
        return time.perf_counter() - start

    async def main() -> dict[str, float]:
        start = time.perf_counter()
        begun = []
        for number in range(int(seconds * RATE)):
            await asyncio.sleep(start + number / RATE - time.perf_counter())
            begun.append(asyncio.ensure_future(asyncio.wait_for(connection(), PATIENCE)))
        times = await asyncio.gather(*begun, return_exceptions=True)
        elapsed = time.perf_counter() - start
        good = [each for each in times if isinstance(each, float)]
        return {
            "per_second": len(good) / elapsed,
            "us": statistics.median(good or [PATIENCE]) * 1e6,
            "failed": len(times) - len(good),
        }

    return asyncio.run(main())


def round_trip(seconds: float) -> dict[str, float]:
    """One byte there and back on a connection that is open."""
    times = []
    with connect(ECHO) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            sock.sendall(b"x")
            sock.recv(1)
            times.append(time.perf_counter() - start)
    return {"us": statistics.median(times) * 1e6}


def datagrams(size: int) -> Callable[[float], dict[str, float]]:
    """Datagrams that are echoed, some of them under way at any time."""

    def run(seconds: float) -> dict[str, float]:
        data = bytes(size)
        count = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.2)
            sock.connect((HOST, 80))
            start = time.perf_counter()
            while (elapsed := time.perf_counter() - start) < seconds:
                for _ in range(OUTSTANDING):
                    sock.send(data)
                try:
                    for _ in range(OUTSTANDING):
                        count += len(sock.recv(2000)) == size
                except TimeoutError:
                    pass
        if not count:
            raise ConnectionError("no echo")
        return {"per_second": count / elapsed}

    return run


WORKLOADS = {
    "upload": upload,
    "download": download,
    "eight": eight,
    "connections": connections,
    "paced": paced,
    "round-trip": round_trip,
    "udp-1400": datagrams(1400),
    "udp-64": datagrams(64),
}

if __name__ == "__main__":
    print(json.dumps(WORKLOADS[sys.argv[1]](float(sys.argv[2]))))
