"""A TCP transfer between two namespaces, through a forwarder of two TUN devices."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ... import Device, PacketProtocol, PacketTransport, SuperPacket
from ...testing import Namespace
from . import ends
from .display import Display, amount
from .endpoint import endpoint

__all__ = ["PATHS", "Path", "Result", "TransferError", "transfer"]

SENDER, RECEIVER = "10.0.0.1", "10.0.0.2"

Ends = dict[str, "subprocess.Popen[str]"]
"""The processes of sender and receiver."""

TICK = 0.1
"""Seconds between two looks at what was forwarded."""


class TransferError(Exception):
    """The transfer came to nothing; says why."""


class Forwarder(PacketProtocol):
    """Hands on each packet: the offload splits what it gets, and coalesces what it gives."""

    def connection_made(self, transport: PacketTransport) -> None:
        self.transport = transport
        transport.pause_reading()  # until there is somewhere to forward to

    def forward_to(self, other: Forwarder) -> None:
        self.other = other.transport
        self.transport.resume_reading()

    def packet_received(self, packet: bytes) -> None:
        self.other.write(packet)


class SuperForwarder(Forwarder):
    """Hands on super-packets as they are."""

    def super_packets_received(self, packets: list[SuperPacket]) -> None:
        for packet in packets:
            self.other.write_super(packet)


@dataclass(frozen=True)
class Path:
    """A way through the forwarder."""

    name: str
    meaning: str
    protocol: type[Forwarder]
    offload: bool
    outcome: str = ""
    """What became of super-packets: how many were read, and written."""


PATHS = (
    Path("no offload", "each packet by itself", Forwarder, offload=False),
    Path(
        "offload",
        "super-packets, split and merged",
        Forwarder,
        offload=True,
        outcome="{} super-packets split, {} merged",
    ),
    Path(
        "zero-split",
        "super-packets as they are",
        SuperForwarder,
        offload=True,
        outcome="{} super-packets handed on",
    ),
)


@dataclass(frozen=True)
class Result:
    path: Path
    bytes: int
    """As the receiver got them, without headers and what was sent twice."""
    seconds: float
    cpu: float
    """Of the forwarder, as a fraction of one processor."""
    traffic: str
    """What the forwarder handled, both directions together."""

    @property
    def gbits(self) -> float:
        """Gbit/s."""
        return self.bytes * 8e-9 / self.seconds


async def transfer(path: Path, seconds: float, display: Display) -> Result:
    """Send as much as goes through in so many seconds, and compare it on arrival.

    Raises `TransferError` when an end fails or not all arrives.
    """

    def device(namespace: Namespace, address: str, peer: str) -> Device:
        return namespace.run(Device, addresses=[f"{address} peer {peer}"], offload=path.offload)

    with Namespace() as left, Namespace() as right:
        async with (
            endpoint(path.protocol, device(left, SENDER, RECEIVER)) as a,
            endpoint(path.protocol, device(right, RECEIVER, SENDER)) as b,
        ):
            a.forward_to(b)
            b.forward_to(a)
            try:
                with _ends(left, right, seconds) as processes:
                    return await _watch(path, processes, (a, b), display)
            finally:
                for end in (a, b):  # what still comes has nowhere to go
                    end.transport.pause_reading()


@contextmanager
def _ends(left: Namespace, right: Namespace, seconds: float) -> Iterator[Ends]:
    """Sender and receiver, running; none is left running."""
    with ExitStack() as stack:
        listener = stack.enter_context(right.run(socket.create_server, (RECEIVER, 0)))

        def start(namespace: Namespace, *arguments: str) -> subprocess.Popen[str]:
            process: subprocess.Popen[str] = namespace.run(
                subprocess.Popen,
                [sys.executable, "-IS", ends.__file__, *arguments],
                stdin=listener,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,  # a Ctrl-C is ours alone
            )
            stack.enter_context(process)  # which waits
            stack.callback(process.kill)
            return process

        port = str(listener.getsockname()[1])
        yield {
            "receiver": start(right, "receive"),
            "sender": start(left, "send", RECEIVER, port, str(seconds)),
        }


async def _watch(
    path: Path, processes: Ends, between: tuple[Forwarder, Forwarder], display: Display
) -> Result:
    """Show what goes through until sender and receiver are done."""
    counters = [end.transport.counters for end in between]
    cpu, before = time.process_time(), 0

    def traffic() -> str:
        packets = sum(each.packets_received for each in counters)
        read = sum(each.super_packets_received for each in counters)
        written = sum(each.super_packets_sent for each in counters)
        outcome = path.outcome.format(amount(read), amount(written))
        return outcome or f"{amount(packets)} packets"

    while any(process.poll() is None for process in processes.values()):
        await asyncio.sleep(TICK)
        now = sum(each.bytes_received for each in counters)
        display.live(f"   {path.name:11}{(now - before) * 8e-9 / TICK:5.2f} Gbit/s   {traffic()}")
        before = now
    cpu = time.process_time() - cpu
    said = {}
    for name, process in processes.items():
        assert process.stdout is not None
        said[name] = process.stdout.read().strip()
        if process.returncode:
            raise TransferError(f"the {name} failed: {said[name].rpartition(chr(10))[2]}")
    received, duration = said["receiver"].split()
    if received != said["sender"]:
        raise TransferError(f"{said['sender']} bytes were sent, {received} arrived")
    return Result(path, int(received), float(duration), cpu / float(duration), traffic())
