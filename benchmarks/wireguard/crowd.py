"""A server and many wireguard-go peers of it, all in one process of their own."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

from aiotun.testing import Namespace
from aiotun.testing.ping import echo_request
from aiotun.wireguard.core.messages import TRANSPORT_OVERHEAD
from aiotun.wireguard.keys import generate_private_key, public_key_of

from ..processes import MeasurementError, Process
from .nodes import MTU, PORT, Node, connect, give_address
from .programs import MANY

__all__ = ["CENTER", "crowd", "host", "time_sending"]

CENTER = "10.7.0.1"
"""The server's address inside."""

PATIENCE = 20.0
"""Seconds until all must be answered."""


def host(number: int) -> str:
    """The address inside of a peer."""
    return str(IPv4Address("10.7.1.0") + number)


@contextmanager
def crowd(implementation: str, count: int) -> Iterator[Node]:
    """The server. All peers begin in the same moment, and are answered when this is entered.

    Raises `MeasurementError` when some are not.
    """
    with (
        Node(implementation, f"{CENTER}/16") as server,
        Namespace() as outside,
        tempfile.TemporaryDirectory(prefix="aiotun-wireguard-") as folder,
    ):
        connect(server.namespace, outside)
        give_address(server.namespace, "eth0", "192.0.2.1/24")
        give_address(outside, "eth0", "192.0.2.2/24")
        file = Path(folder, "peers")
        with file.open("w") as lines:
            for number in range(count):
                key = generate_private_key()
                server.add_peer(public_key_of(key), f"{host(number)}/32")
                ping = echo_request(host(number), CENTER, 1, 1)
                lines.write(f"{key.hex()} {ping.hex()}\n")
        server.start()
        where = (f"192.0.2.1:{PORT}", server.public_key.hex(), str(file))
        with Process(outside, *MANY.command, *where) as peers:
            deadline = time.monotonic() + PATIENCE
            while (answered := peers.output().count("answered")) < count:
                if time.monotonic() > deadline:
                    raise MeasurementError(f"{answered} of {count} peers were answered")
                peers.check()
                time.sleep(0.05)
            yield server


def time_sending(server: Node, count: int, run: int, seconds: float) -> float:
    """Microseconds of processor time that the server of a crowd takes a packet to its peers.

    So many packets in a row go to one of them; all of it is measured, the device and the socket
    included.
    """
    spray = (sys.executable, "-m", "benchmarks.wireguard.spray", f"{count}", f"{run}")
    with Process(server.namespace, *spray) as sender:
        sender.wait_for("ready", timeout=20)
        time.sleep(0.2)
        sent, spent = _sent(server), server.process.cpu_seconds()
        time.sleep(seconds)
        sent, spent = _sent(server) - sent, server.process.cpu_seconds() - spent
        sender.check()
    return 1e6 * spent / sent


def _sent(server: Node) -> float:
    """Packets of full size to all peers."""
    sent = sum(int(peer["tx_bytes"]) for peer in server.peers().values())
    return sent / (MTU + TRANSPORT_OVERHEAD)
