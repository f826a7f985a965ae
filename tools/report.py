"""make report: what the package does on this system's own kernel, as a short report to send in.

Runs as root, and makes interfaces for a moment, with addresses of 198.18.0.0/15 and fd00:a107::/32,
which no network should have. Each step says whether it did what it should; the rest goes on.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any, cast

import aiotun
from aiotun.errors import ClosedError, RouteError, TunError, UnsupportedError
from aiotun.interfaces import AddressAdded, AddressRemoved, LinkChanged
from aiotun.native import native
from aiotun.offload import implementation
from aiotun.options import DarwinOptions, FreeBSDOptions, OpenBSDOptions
from aiotun.testing.ping import echo_reply

__all__ = ["STEPS", "main"]

OWN = {4: "198.18.77.1/24", 6: "fd00:a107:77::1/64"}
OTHER = {4: "198.18.77.2", 6: "fd00:a107:77::2"}
MORE = "198.18.78.1/24"
ROUTE = "198.18.79.0/24"
ROUTE6 = "fd00:a107:79::/64"

PATIENCE = 10.0
"""Seconds in which the system has told of a change."""

WITHIN = 90.0
"""Seconds after which a step is taken to hang."""


@contextmanager
def answering(**settings: Any) -> Iterator[aiotun.Device]:
    """A TUN behind which a thread answers pings."""
    device = aiotun.Device(addresses=list(OWN.values()), **settings)

    def answer() -> None:
        try:
            for packet in device:
                reply = echo_reply(packet)
                if reply is not None:
                    device.send(reply)
        except ClosedError:
            pass

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield device
    finally:
        device.shutdown()
        thread.join()
        device.close()


def ping(version: int) -> str:
    program = ["ping6"] if version == 6 and shutil.which("ping6") else ["ping", f"-{version}"]
    if version == 4 and platform.system() in ("Darwin", "NetBSD", "OpenBSD"):
        program = ["ping"]
    run = subprocess.run(
        [*program, "-c", "3", OTHER[version]],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    lines = [line for line in run.stdout.splitlines() if "received" in line]
    said = lines[0] if lines else (run.stdout + run.stderr).strip()[-200:]
    assert run.returncode == 0, said
    return said


def step_ping() -> str:
    with answering() as device:
        time.sleep(1)
        said = [ping(version) for version in (4, 6)]
        counted = device.statistics()
        assert counted.packets_received >= 6, counted
        assert counted.packets_sent >= 6, counted
    return "; ".join(said)


def step_interface() -> str:
    with aiotun.Device(addresses=list(OWN.values()), mtu=1400) as device:
        assert device.mtu == 1400, device.mtu
        assert device.is_up
        found = [str(address) for address in device.addresses()]
        assert set(OWN.values()) <= set(found), found
        device.mtu = 1300
        assert device.mtu == 1300
        device.down()
        assert not device.is_up
        device.up()
        assert device.is_up
        return f"{device.name}, index {device.index}: {', '.join(found)}"


def count_events(device: aiotun.Device, *kinds: type) -> int:
    """Wait until an event of each of these kinds has come; how many came."""
    events: list[object] = []
    deadline = time.monotonic() + PATIENCE
    while not {type(event) for event in events} >= set(kinds):
        assert time.monotonic() < deadline, events
        time.sleep(0.1)
        events += device.events()
    return len(events)


def step_events() -> str:
    with aiotun.Device() as device:
        time.sleep(0.2)
        device.events()
        device.mtu = 1300
        device.add_address(MORE)
        device.remove_address(MORE)
        device.add_address(MORE)
        count = count_events(device, LinkChanged, AddressAdded)
        device.remove_address(MORE)
        count_events(device, AddressRemoved)
        return f"{count} events"


def step_routes() -> str:
    with aiotun.Device(addresses=[OWN[4]], routes=[ROUTE]) as device:
        assert [str(route).split()[0] for route in device.routes()] == [ROUTE], device.routes()
        try:
            device.add_route(ROUTE)
        except RouteError as exc:
            said = str(exc)
        else:
            raise AssertionError("the same route was taken twice")
        device.remove_route(ROUTE)
        assert device.routes() == [], device.routes()
    return said


def step_tap(**settings: Any) -> str:
    mac = "02:00:00:00:77:01"
    with aiotun.Device(layer="tap", addresses=[OWN[4]], mac=mac, **settings) as device:
        assert device.mac == "02:00:00:00:77:01", device.mac
        subprocess.Popen(["ping", "-c", "1", OTHER[4]], stdout=subprocess.DEVNULL).wait(30)
        while True:
            frame = device.recv(timeout=5)
            if frame[12:14] == b"\x08\x06":
                device.send(b"\xff" * 6 + frame[6:12] + b"\x88\xb5" + bytes(46))  # IEEE 802: tests
                return f"{device.name}: its ARP request has {len(frame)} bytes"


def step_super_packets() -> str:
    """Where they are off unless they are asked for: the header, and that packets still pass."""
    if sys.platform.startswith("openbsd"):
        with answering(openbsd=OpenBSDOptions(offload=True)) as device:
            time.sleep(1)
            assert device.tcp_offload
            return "; ".join(ping(version) for version in (4, 6))
    if sys.platform.startswith("freebsd"):
        return step_tap(freebsd=FreeBSDOptions(offload=True))
    return "nothing to ask for here"


def step_wireguard() -> str:
    """The routes that WireGuard needs, with a host that is not to go by them."""
    try:
        from aiotun.wireguard import InterfaceConfig, PeerConfig, WireGuard
        from aiotun.wireguard.system import open_system
    except ModuleNotFoundError as exc:
        return f"not tried: {exc} ({sys.executable} -m pip install cryptography PyNaCl)"
    network = ip_network(ROUTE)
    host = str(network[9])
    peer = PeerConfig(bytes(32), allowed_ips=(network,))
    with aiotun.Device(addresses=[OWN[4]]) as device:
        system = open_system(cast(WireGuard, SimpleNamespace(device=device)))
        try:
            system.update(InterfaceConfig(peers=(peer,)), [host])
            assert ROUTE in [str(route.destination) for route in device.routes()]
            command = ["ip", "route", "get"] if sys.platform == "linux" else ["route", "-n", "get"]
            run = subprocess.run([*command, host], capture_output=True, text=True, check=False)
        finally:
            system.close()
    return " ".join((run.stdout + run.stderr).split())


def step_receive_many() -> str:
    """The call that is off unless it is asked for, tried as an endpoint tries it."""
    if not sys.platform.startswith(("darwin", "netbsd", "openbsd")):
        return "nothing to ask for here"
    from aiotun.udp.mmsg import checked_call

    checked_call()
    return "two datagrams came in it as they were sent"


def step_read_many() -> str:
    """The call that is off unless it is asked for, on a utun."""
    if sys.platform != "darwin":
        return "nothing to ask for here"
    options = DarwinOptions(receive_many=True)
    with (
        aiotun.Device(addresses=[OWN[4]], darwin=options) as device,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        for _ in range(20):
            sock.sendto(bytes(100), (OTHER[4], 9))
        time.sleep(0.5)
        queue = device.queue
        frames = native.read_frames(queue.channel(), 64, queue.families, queue.recvmsg_x) or []
        assert len(frames) > 1, frames
        return f"{len(frames)} packets came in it"


def step_flows() -> str:
    """TCP and UDP out of a TUN, with this kernel's TCP at both ends."""
    return asyncio.run(asyncio.wait_for(_flows(), 30))


async def _flows() -> str:
    loop = asyncio.get_running_loop()
    data = bytes(range(256)) * 4096

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(-1))
        writer.close()

    async def answer(datagrams: aiotun.flows.DatagramStream) -> None:
        async for datagram in datagrams:
            datagrams.send(datagram)

    async with aiotun.start_flow_server(
        echo, datagrams=answer, addresses=list(OWN.values()), routes=[ROUTE, ROUTE6]
    ) as server:
        for network in (ROUTE, ROUTE6):
            host = str(ip_network(network)[9])
            reader, writer = await asyncio.open_connection(host, 7)
            writer.write(data)
            writer.write_eof()
            assert await reader.read(-1) == data
            writer.close()
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.connect((host, 7))
                sock.send(data[:1000])
                assert await loop.sock_recv(sock, 2000) == data[:1000]
        assert server.counters.established == server.counters.conversations == 2, server.counters
        return "TCP with 1 MiB there and back, and UDP, of IPv4 and IPv6"


def step_persistent() -> str:
    try:
        device = aiotun.Device(persistent=True)
    except UnsupportedError as exc:
        return str(exc)
    name = device.name
    device.close()
    with aiotun.Device(name=name, persistent=False) as device:
        assert device.name == name
    try:
        with aiotun.Device(name=name, exclusive=True):
            pass
    except UnsupportedError as exc:
        return f"{name} was kept, found and destroyed ({exc})"
    return f"{name} was kept, found and destroyed"


def step_errors() -> str:
    with aiotun.Device() as device:
        try:
            with aiotun.Device(name=device.name):
                pass
        except TunError as exc:
            return f"opened twice: {type(exc).__name__}: {exc}"
    raise AssertionError("a device was opened twice")


STEPS: dict[str, Callable[[], str]] = {
    "a TUN and its settings": step_interface,
    "ping through a TUN": step_ping,
    "events": step_events,
    "routes": step_routes,
    "a TAP": step_tap,
    "super-packets": step_super_packets,
    "WireGuard's routes": step_wireguard,
    "many datagrams a call": step_receive_many,
    "many packets a call": step_read_many,
    "flows": step_flows,
    "a device that stays": step_persistent,
    "errors": step_errors,
}


def run(step: Callable[[], str]) -> str:
    """What the step says. Raises what it raises, and `TimeoutError` that tells where it hangs."""
    said: Future[str] = Future()

    def call() -> None:
        try:
            said.set_result(step())
        except BaseException as exc:
            said.set_exception(exc)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(WITHIN)
    if thread.is_alive():
        frame = sys._current_frames().get(thread.ident or 0)
        raise TimeoutError("it hangs:\n" + "".join(traceback.format_stack(frame)))
    return said.result()


def main() -> int:
    """Print the report; return how many steps failed."""
    if os.geteuid():
        print("The report makes interfaces: run it as root (sudo make report, gmake on the BSDs).")
        return len(STEPS)
    system, python = platform.platform(), platform.python_version()
    print(f"aiotun {aiotun.__version__} on {system}, Python {python}, {implementation}")
    failed = 0
    for name, step in STEPS.items():
        try:
            print(f"ok      {name}: {run(step)}", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED  {name}:\n{traceback.format_exc()}", flush=True)
    print(f"{len(STEPS) - failed} of {len(STEPS)} steps did what they should")
    return failed


if __name__ == "__main__":
    sys.exit(main())
