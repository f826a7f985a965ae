"""Two namespaces with a forwarder between them.

        namespace a                                    namespace b
    10.0.0.1 on tun0  <-->  the forwarder  <-->  tun1 with 10.0.0.2

The forwarder makes both devices where it runs, in namespace a, and tun1 is then
moved. Each measurement has namespaces of its own: the kernel keeps what it
learned of a TCP peer in them, and the next row would start with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiotun.testing.namespace import Namespace

from .processes import Process
from .rows import Row

__all__ = [
    "ADDRESS_B",
    "Network",
    "allowed_congestion_controls",
    "congestion_control",
    "forwarding",
]

SETTINGS = Path("/proc/sys/net/ipv4")

ADDRESS_A, ADDRESS_B = "10.0.0.1", "10.0.0.2"


def allowed_congestion_controls() -> list[str]:
    """Those that a namespace may have as its default (net/ipv4/tcp_cong.c)."""
    return (SETTINGS / "tcp_allowed_congestion_control").read_text().split()


def congestion_control() -> str:
    """TCP's to measure with: cubic, or the machine's own where namespaces may not have that.

    Cubic is what Linux is built with as the default (net/ipv4/Kconfig:
    DEFAULT_TCP_CONG). It sends until the forwarder is busy; bbr paces itself by its
    own estimate, and forwarders idle.
    """
    if "cubic" in allowed_congestion_controls():
        return "cubic"
    return (SETTINGS / "tcp_congestion_control").read_text().strip()


@dataclass(frozen=True)
class Network:
    a: Namespace
    b: Namespace
    forwarder: Process

    def counter(self, group: str, name: str) -> int:
        """One of the kernel's counters, both namespaces together (proc_net(5): netstat)."""
        return sum(each.run(_counter, group, name) for each in (self.a, self.b))


def _counter(group: str, name: str) -> int:
    lines = Path("/proc/thread-self/net/netstat").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith(f"{group}:"))
    return int(values[names.index(name)])


@contextmanager
def forwarding(row: Row, tcp: str) -> Iterator[Network]:
    """Set everything up, TCP with that congestion control, and check that packets arrive.

    Raises `MeasurementError`.
    """
    with Namespace() as a, Namespace() as b:
        for namespace in (a, b):  # no router solicitations among the packets
            namespace.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
            namespace.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
            namespace.sysctl("net.ipv4.tcp_congestion_control", tcp)
        command = (*row.command, "tun0", "tun1")
        with Process(a, *command, environment=row.environment) as forwarder:
            forwarder.wait_for("ready", timeout=20)
            a.command("ip", "link", "set", "tun1", "netns", f"/proc/{os.getpid()}/fd/{b.fileno()}")
            _configure(a, "tun0", ADDRESS_A, ADDRESS_B)
            _configure(b, "tun1", ADDRESS_B, ADDRESS_A)
            with Process(a, "ping", "-n", "-c", "3", "-i", "0.1", "-w", "20", ADDRESS_B) as ping:
                ping.finish(timeout=30)
            yield Network(a, b, forwarder)


def _configure(namespace: Namespace, name: str, address: str, peer: str) -> None:
    namespace.command("ip", "address", "add", address, "peer", peer, "dev", name)
    namespace.command("ip", "link", "set", name, "up")
