"""One measurement: a server in a namespace of its own, and a client there."""

from __future__ import annotations

import json
import socket
import sys
import time
from contextlib import ExitStack

from aiotun.testing import Namespace

from ..processes import MeasurementError, Process
from ..workloads import Metrics
from .rows import ADDRESS, DEVICE, Row

__all__ = ["measure"]

START, END = 10.0, 20.0
"""Seconds that a program may take to begin, and beyond its measurement."""


def measure(row: Row, workload: str, seconds: float) -> Metrics:
    """Raises `MeasurementError`."""
    with ExitStack() as stack:
        namespace = stack.enter_context(Namespace())
        if row.behind:
            sink = Process(namespace, sys.executable, "-m", "benchmarks.flows.sink")
            stack.enter_context(sink).wait_for("ready", START)
        server = stack.enter_context(Process(namespace, *row.program.command))
        if row.prints is not None:
            server.wait_for(row.prints, START)
        _set_up(namespace, server)
        before = server.cpu_seconds()
        client = Process(
            namespace, sys.executable, "-m", "benchmarks.flows.load", workload, f"{seconds}"
        )
        metrics: Metrics = json.loads(stack.enter_context(client).finish(seconds + END))
        used = server.cpu_seconds() - before
        if "throughput" in metrics:
            metrics["cpu_per_gbit"] = used * 1e3 / (metrics["throughput"] * seconds)
        else:
            metrics["cpu"] = 100 * used / seconds
        return metrics


def _set_up(namespace: Namespace, server: Process) -> None:
    """Wait for the device, and lead everything into it, where its program has not done so."""
    deadline = time.monotonic() + START
    while DEVICE not in {name for _, name in namespace.run(socket.if_nameindex)}:
        server.check()
        if time.monotonic() > deadline:
            raise MeasurementError(f"there is no {DEVICE} after {START:g} s")
        time.sleep(0.01)
    for command in (
        f"ip address replace {ADDRESS} dev {DEVICE}",
        f"ip link set {DEVICE} up",
        f"ip route replace default dev {DEVICE}",
    ):
        namespace.command(*command.split())
