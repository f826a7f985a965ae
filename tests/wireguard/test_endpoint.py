"""WireGuard interfaces on devices in memory and sockets on the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from ipaddress import ip_network
from typing import Any, cast

import packets
import pytest
from rigs import until
from waiting import wait_until
from ways import WAYS, leave_all_to_python

import aiotun
from aiotun.cancelling import AsyncClosing
from aiotun.platforms.memory import MemoryInterface
from aiotun.testing import memory_devices
from aiotun.wireguard import endpoint
from aiotun.wireguard.changes import Changes, Control, PeerChange
from aiotun.wireguard.config import InterfaceConfig, PeerConfig
from aiotun.wireguard.core import peer as peer_module
from aiotun.wireguard.endpoint import MARKS, WireGuard
from aiotun.wireguard.keys import generate_private_key, public_key_of
from aiotun.wireguard.names import AT_ONCE, _next_address

KEYS = [generate_private_key() for _ in range(2)]
PUBLIC = [public_key_of(key) for key in KEYS]


@pytest.fixture(params=WAYS, autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets that are plain cross in C, and in Python."""
    if request.param == "python":
        leave_all_to_python(monkeypatch)


class End:
    """An interface, and the host behind it."""

    def __init__(self, wireguard: WireGuard, host: aiotun.PacketStream) -> None:
        self.wireguard = wireguard
        self.host = host

    async def recv(self) -> bytes:
        return await asyncio.wait_for(self.host.recv(), 20)


@contextlib.asynccontextmanager
async def end(number: int, *peers: PeerConfig, **settings: Any) -> AsyncIterator[End]:
    near, far = memory_devices(mtu=1420, addresses=[f"10.9.0.{number + 1}/24"])
    async with aiotun.open_device(device=far) as host:
        config = InterfaceConfig(KEYS[number], peers=peers, **settings)
        async with WireGuard(config, device=near) as wireguard:
            yield End(wireguard, host)


def peer(number: int, port: int | None = None, host: str = "127.0.0.1") -> PeerConfig:
    return PeerConfig(
        PUBLIC[number],
        endpoint=None if port is None else (host, port),
        allowed_ips=(ip_network(f"10.9.0.{number + 1}/32"),),
    )


def packet(sender: int, receiver: int, number: int = 0) -> bytes:
    return packets.udp(
        payload=number.to_bytes(4, "big") + bytes(1000),
        source=f"10.9.0.{sender + 1}",
        destination=f"10.9.0.{receiver + 1}",
        identification=number,
    )


async def test_one_cancellation_ends_an_interface_that_pushes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(AsyncClosing, "linger", 0.02)
    near, far = memory_devices(capacity=1, push_back=True)
    written = asyncio.Event()

    async def use() -> None:
        async with WireGuard(InterfaceConfig(KEYS[0]), device=near) as wireguard:
            wireguard.transport.writelines([packet(1, 0), packet(1, 0, 1)])
            wireguard.transport.flush()
            written.set()
            await asyncio.Event().wait()

    using = asyncio.ensure_future(use())
    await written.wait()
    using.cancel()
    await asyncio.wait([using], timeout=20)
    assert using.cancelled()
    with pytest.raises(aiotun.ClosedError):
        near.recv()
    far.close()


async def test_what_comes_while_it_closes_sets_no_timer() -> None:
    async with end(0, peer(1, 9)) as a:
        pass
    timer = a.wireguard._timer
    a.wireguard.send([packet(0, 1)])  # which begins a handshake
    assert a.wireguard._timer is timer


async def passes(sender: End, receiver: End, number: int = 0) -> None:
    one = packet(0, 1, number) if sender.wireguard.tunnel.private_key == KEYS[0] else packet(1, 0)
    await sender.host.send(one)
    assert await receiver.recv() == one


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_there_and_back(host: str) -> None:
    async with end(1, peer(0)) as b, end(0, peer(1, b.wireguard.listen_port, host)) as a:
        await until(lambda: a.wireguard.tunnel.peers[PUBLIC[1]].endpoint is not None)
        await passes(a, b)
        await passes(b, a)
        (known,) = b.wireguard.tunnel.peers.values()
        assert known.endpoint is not None
        assert known.endpoint[1] == a.wireguard.listen_port


async def test_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    async with end(1, peer(0)) as b, end(0, peer(1, b.wireguard.listen_port)) as a:
        await passes(a, b)
        a.wireguard.set_peer(peer(1, 1, "::1"))  # there is no way to it, and it stays where it is
        await passes(b, a)


async def test_many_packets_in_order() -> None:
    async with end(1, peer(0)) as b, end(0, peer(1, b.wireguard.listen_port)) as a:
        await passes(a, b)
        many = [packet(0, 1, number) for number in range(300)]
        await a.host.send_many(many)
        assert [await b.recv() for _ in many] == many


async def test_handshakes_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's timer: the first initiation goes to a port at which nobody listens yet."""
    monkeypatch.setattr(peer_module, "REKEY_TIMEOUT", 0.2)
    monkeypatch.setattr(peer_module, "JITTER", 0.01)
    reserved = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    reserved.bind(("::", 0))
    port = reserved.getsockname()[1]
    async with end(0, peer(1, port)) as a:
        reserved.close()  # not before: `a` has another port
        await a.host.send(packet(0, 1))
        await asyncio.sleep(0.1)
        async with end(1, peer(0), listen_port=port) as b:
            assert await b.recv() == packet(0, 1)


async def test_another_port() -> None:
    async with end(1, peer(0)) as b, end(0, peer(1, b.wireguard.listen_port)) as a:
        await passes(a, b)
        before = b.wireguard.listen_port
        await b.wireguard.set_listen_port(0)
        assert b.wireguard.listen_port != before
        await passes(b, a)  # it roamed, for the other side
        await passes(a, b)
        taken = a.wireguard.listen_port
        with pytest.raises(OSError, match="another socket has this port"):
            await b.wireguard.set_listen_port(taken)
        await passes(b, a)


@pytest.mark.parametrize("system", ["darwin", "netbsd", "openbsd"])
async def test_many_datagrams_in_a_call(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On sockets of macOS and the BSDs, which are MODELS."""
    from models.udp import use_sockets_of  # takes Linux

    headers = importlib.import_module(f"aiotun.platforms.bsd.headers.{system}")
    received = use_sockets_of(headers, monkeypatch)
    async with end(1, peer(0)) as b, end(0, peer(1, b.wireguard.listen_port)) as a:
        await passes(a, b)
        many = [packet(0, 1, number) for number in range(100)]
        await a.host.send_many(many)
        assert [await b.recv() for _ in many] == many
        await passes(b, a)
    assert max(received) > 10


async def test_what_came_to_the_old_port_is_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    async with end(1, peer(0)) as b, end(0, peer(1, b.wireguard.listen_port)) as a:
        await passes(a, b)
        b.wireguard.udp.pause_reading()
        many = [packet(0, 1, number) for number in range(600)]
        await a.host.send_many(many)
        await until(lambda: a.wireguard.udp.counters.datagrams_sent >= 600)
        b.wireguard.udp.resume_reading()
        await b.wireguard.set_listen_port(0)
        assert [await b.recv() for _ in many] == many
        await passes(b, a)


@pytest.mark.parametrize("how", ["refused", "cancelled at once", "cancelled when it was open"])
async def test_another_port_in_vain(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one socket, the old or the new one."""
    async with end(1, peer(0)) as b, end(0, peer(1, b.wireguard.listen_port)) as a:
        await passes(a, b)
        opened = [b.wireguard.udp]
        create = aiotun.create_udp_endpoint

        async def creating(*args: Any, **settings: Any) -> Any:
            if how == "cancelled at once":
                task.cancel()
            made = await create(*args, **settings)
            opened.append(made[0])
            if how == "cancelled when it was open":
                task.cancel()
            return made

        def refuse(*args: Any) -> None:
            raise PermissionError(errno.EPERM, "not for you")

        monkeypatch.setattr(aiotun, "create_udp_endpoint", creating)
        if how == "refused":
            b.wireguard.fwmark = 5
            monkeypatch.setattr(b.wireguard, "_mark", refuse)
        task = asyncio.ensure_future(b.wireguard.set_listen_port(0))
        with pytest.raises((PermissionError, asyncio.CancelledError)):
            await task
        assert [udp for udp in opened if not udp.is_closing()] == [b.wireguard.udp]
        await passes(b, a)
        await passes(a, b)


async def test_a_port_that_failed_before_it_was_given_up() -> None:
    """What ends the old socket while it is read out does not end the interface."""
    async with end(0) as a:
        old = cast(asyncio.Protocol, a.wireguard.udp.get_protocol())
        await a.wireguard.set_listen_port(0)
        old.connection_lost(OSError(9, "bad"))
        assert not a.wireguard._closed.done()


async def test_a_port_that_was_given_up_paces_nobody() -> None:
    """It may end before it takes more, and then nothing would let the device go on."""
    async with end(0) as a:
        old = cast(asyncio.Protocol, a.wireguard.udp.get_protocol())
        await a.wireguard.set_listen_port(0)
        old.pause_writing()
        assert a.wireguard.transport.is_reading()
        new = a.wireguard.udp.get_protocol()
        new.pause_writing()
        assert not a.wireguard.transport.is_reading()
        old.resume_writing()
        assert not a.wireguard.transport.is_reading()
        new.resume_writing()
        assert a.wireguard.transport.is_reading()


async def test_sessions_age_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = 0.0
    monkeypatch.setattr(endpoint, "clock", lambda: time.monotonic() + slept)
    async with end(1, peer(0)) as b, end(0, peer(1, b.wireguard.listen_port)) as a:
        await passes(a, b)
        (known,) = a.wireguard.tunnel.peers.values()
        first = known._current
        slept = 200.0
        await passes(a, b)
        assert known._current is not first


async def test_sessions_are_renewed_when_a_timer_is_due_after_a_sleep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asleep = 0.0
    monkeypatch.setattr(endpoint, "clock", lambda: time.monotonic() + asleep)
    async with end(1, peer(0)) as b, end(0, peer(1, b.wireguard.listen_port)) as a:
        await passes(a, b)
        await passes(b, a)  # else it would be the missing answer that begins another handshake
        (known,) = a.wireguard.tunnel.peers.values()
        first = known._current
        a.wireguard._tick()
        await asyncio.sleep(0.05)
        assert known._current is first
        asleep = 30.0
        a.wireguard._tick()
        await until(lambda: known._current is not first)


def test_the_clock_counts_sleep() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= endpoint.clock() <= time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.mark.parametrize("mark", [9, 2**31, 2**32 - 1])
async def test_firewall_mark(mark: int) -> None:
    def marks(udp: aiotun.UdpTransport) -> int:
        sock = udp.get_extra_info("socket")
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, MARKS["linux"], 4), sys.byteorder)

    async with end(0, fwmark=7) as a:
        assert marks(a.wireguard.udp) == 7
        await a.wireguard.set_fwmark(mark)
        await a.wireguard.set_listen_port(0)
        assert marks(a.wireguard.udp) == a.wireguard.fwmark == mark


async def test_peers_come_and_go() -> None:
    async with end(1) as b, end(0) as a:
        a.wireguard.set_peer(peer(1, b.wireguard.listen_port))
        b.wireguard.set_peer(peer(0))
        await passes(a, b)
        a.wireguard.remove_peer(PUBLIC[1])
        assert not a.wireguard.tunnel.peers
        a.wireguard.set_private_key(generate_private_key())


async def test_a_persistent_keepalive_begins_at_once() -> None:
    async with end(1, peer(0)) as b:
        near = PeerConfig(
            PUBLIC[1], endpoint=("127.0.0.1", b.wireguard.listen_port), persistent_keepalive=25
        )
        async with end(0, near):
            known = b.wireguard.tunnel.peers[PUBLIC[0]]
            await until(lambda: known.last_handshake is not None)


class Names:
    """What names lead to while a test runs; the others are not found."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known: dict[str, str] = {}
        self.asked: list[str] = []
        self.under_way = self.most_under_way = 0
        self.leave = threading.Event()  # which no look-up ends without
        self.leave.set()
        self._lock = threading.Lock()
        monkeypatch.setattr("aiotun.wireguard.names.PAUSE", 0.01)
        monkeypatch.setattr("aiotun.wireguard.names.getaddrinfo", self.getaddrinfo)

    def getaddrinfo(self, host: str, port: int, family: int, kind: int) -> list[Any]:
        with self._lock:
            self.asked.append(host)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        assert self.leave.wait(20)
        with self._lock:
            self.under_way -= 1
        if host not in self.known:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return socket.getaddrinfo(self.known[host], port, family, kind)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


@pytest.fixture(autouse=True)
def _no_look_ups_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Their threads, for which nobody waits, would ask the next test's `names`."""
    yield
    wait_until(lambda: "aiotun-names" not in [each.name for each in threading.enumerate()])


def to_name(number: int, port: int, name: str = "vpn.example") -> PeerConfig:
    return replace(peer(number, port, name), persistent_keepalive=25)


async def test_a_name_that_is_found_later(names: Names, caplog: pytest.LogCaptureFixture) -> None:
    async with end(1, peer(0)) as b:
        lost = PeerConfig(generate_private_key(), endpoint=("nowhere.example", 1))
        async with end(0, lost, to_name(1, b.wireguard.listen_port)) as a:
            await until(lambda: names.asked.count("vpn.example") >= 3)
            await until(lambda: names.asked.count("nowhere.example") >= 2)
            assert caplog.text.count("vpn.example") == 1
            assert caplog.text.count("nowhere.example") == 1
            names.known["vpn.example"] = "127.0.0.1"
            known = a.wireguard.tunnel.peers[PUBLIC[1]]
            await until(lambda: known.last_handshake is not None)  # by its keep-alive
            await passes(a, b)


async def test_a_name_is_looked_up_again_when_no_thread_could_start(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def start(thread: threading.Thread) -> None:
        tried.append(thread)
        raise RuntimeError("can't start new thread")

    names.known["vpn.example"] = "127.0.0.1"
    async with end(1, peer(0)) as b, end(0) as a:
        with monkeypatch.context() as full:
            full.setattr(threading.Thread, "start", start)
            a.wireguard.set_peer(to_name(1, b.wireguard.listen_port))
            await until(lambda: tried)
        known = a.wireguard.tunnel.peers[PUBLIC[1]]
        await until(lambda: known.last_handshake is not None)  # by its keep-alive


async def test_a_name_keeps_nobody_back(names: Names) -> None:
    """At the start and at a change alike."""
    async with end(1, peer(0)) as b:
        port = b.wireguard.listen_port
        lost = [PeerConfig(generate_private_key(), endpoint=(f"{n}.example", 1)) for n in range(9)]
        async with end(0, *lost, peer(1, port)) as a:
            await passes(a, b)
            await until(lambda: "8.example" in names.asked)
            changes = [PeerChange(each.public_key, endpoint=("x.example", 1)) for each in lost]
            again = PeerChange(PUBLIC[1], endpoint=("127.0.0.1", port), persistent_keepalive=1)
            await Control(a.wireguard).apply(Changes(peers=[*changes, again]))
            assert a.wireguard.tunnel.peers[PUBLIC[1]].persistent_keepalive == 1
            await until(lambda: "x.example" in names.asked)


@pytest.mark.parametrize("instead", ["an address", "another name", "gone", "own", "heard"])
async def test_a_name_that_is_not_wanted_any_more(names: Names, instead: str) -> None:
    async with end(1, peer(0)) as b, end(0, to_name(1, 9)) as a:
        port, key = b.wireguard.listen_port, PUBLIC[1]
        await until(lambda: "vpn.example" in names.asked)
        if instead == "an address":
            a.wireguard.set_peer(peer(1, port))
        elif instead == "another name":
            names.known["other.example"] = "127.0.0.1"
            a.wireguard.set_peer(to_name(1, port, "other.example"))
        elif instead == "gone":
            a.wireguard.remove_peer(key)
        elif instead == "own":
            a.wireguard.set_private_key(KEYS[1])
        else:
            b.wireguard.set_peer(peer(0, a.wireguard.listen_port))
            await passes(b, a)
        names.known["vpn.example"] = "192.0.2.1"
        asked = len(names.asked)
        await until(lambda: not a.wireguard._names._tasks)
        if instead in ("gone", "own"):
            assert key not in a.wireguard.tunnel.peers
            await asyncio.sleep(0.05)
            assert len(names.asked) <= asked + 1  # a thread may have been on its way
        else:
            await passes(a, b)


async def test_a_peer_that_is_heard_where_it_was(names: Names) -> None:
    """While its name is looked up again, and leads elsewhere by now: the peer is not there yet."""
    async with end(1, peer(0)) as b, end(0, to_name(1, b.wireguard.listen_port)) as a:
        names.known["vpn.example"] = "127.0.0.1"
        known = a.wireguard.tunnel.peers[PUBLIC[1]]
        await until(lambda: known.endpoint is not None)
        await passes(a, b)
        where = known.endpoint
        del names.known["vpn.example"]
        a.wireguard._unanswered(known)
        await passes(b, a)
        known.endpoint = where  # an equal one came; whether it is the same object is the socket's
        names.known["vpn.example"] = "192.0.2.1"
        await until(lambda: not a.wireguard._names._tasks)
        assert known.endpoint == where


async def test_names_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    async with end(0, peer(1, 1, "a" * 64 + ".example")) as a:
        await asyncio.sleep(0.01)
        assert a.wireguard._names._tasks


async def test_look_ups_are_few_at_a_time(names: Names) -> None:
    names.leave.clear()
    hosts = {f"{number}.example" for number in range(20)}
    lost = [PeerConfig(generate_private_key(), endpoint=(host, 1)) for host in hosts]
    async with end(0, *lost):
        await until(lambda: names.under_way >= AT_ONCE)
        await asyncio.sleep(0.05)
        names.leave.set()
        await until(lambda: hosts == set(names.asked))
    assert names.most_under_way == AT_ONCE


def test_nobody_waits_for_a_look_up_at_the_end() -> None:
    """Not the loop, and not the interpreter."""
    program = """
        import asyncio, threading
        from aiotun.testing import memory_devices
        from aiotun.wireguard import InterfaceConfig, PeerConfig, WireGuard, names

        asked = threading.Event()

        def getaddrinfo(*args):
            asked.set()
            threading.Event().wait()

        async def main():
            peer = PeerConfig(bytes(range(32)), endpoint=("vpn.example", 1))
            near, far = memory_devices()
            with far:
                async with WireGuard(InterfaceConfig(bytes([1]) * 32, peers=(peer,)), device=near):
                    await asyncio.to_thread(asked.wait)

        names.getaddrinfo = getaddrinfo
        asyncio.run(main())
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=40)


async def test_packets_that_come_before_there_is_a_socket_are_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create = aiotun.create_udp_endpoint

    async def create_late(*args: Any, **keywords: Any) -> Any:
        await asyncio.sleep(0.02)
        return await create(*args, **keywords)

    async with end(1, peer(0)) as b:
        with monkeypatch.context() as patch:
            patch.setattr(aiotun, "create_udp_endpoint", create_late)
            near, far = memory_devices()
            far.send(packet(0, 1))
            config = InterfaceConfig(KEYS[0], peers=(peer(1, b.wireguard.listen_port),))
            async with WireGuard(config, device=near):
                assert await b.recv() == packet(0, 1)
            far.close()


async def test_the_port_is_taken() -> None:
    async with end(0) as a:
        with pytest.raises(OSError, match="another socket has this port"):
            async with end(1, listen_port=a.wireguard.listen_port):
                pass


async def test_the_interface_is_deleted() -> None:
    async with end(0) as a:
        interface = a.wireguard.device.interface
        assert isinstance(interface, MemoryInterface)
        interface.delete()
        with pytest.raises(aiotun.InterfaceGoneError):
            await asyncio.wait_for(a.wireguard.wait_closed(), 20)


async def test_the_socket_fails() -> None:
    async with end(0) as a:
        cast(asyncio.Protocol, a.wireguard.udp.get_protocol()).connection_lost(OSError(9, "bad"))
        with pytest.raises(OSError, match="bad"):
            await asyncio.wait_for(a.wireguard.wait_closed(), 20)


async def test_flow_control() -> None:
    async with end(0) as a:
        transport, udp = a.wireguard.transport, a.wireguard.udp
        for one, other in ((udp, transport), (transport, udp)):
            protocol = cast(asyncio.Protocol, one.get_protocol())
            protocol.pause_writing()
            assert not other.is_reading()
            protocol.resume_writing()
            assert other.is_reading()


async def test_an_address_of_ours_is_gone() -> None:
    """What is sent to a peer leaves from where it was heard, as long as that is possible."""
    async with end(1, peer(0)) as b, end(0, peer(1, b.wireguard.listen_port)) as a:
        await passes(a, b)
        (known,) = b.wireguard.tunnel.peers.values()
        assert known._local == "127.0.0.1"
        known._local = "203.0.113.1"
        await b.host.send(packet(1, 0, 1))  # lost
        await until(lambda: b.wireguard.udp.counters.dropped_sent == 1)
        await passes(b, a)


async def test_a_narrow_path_changes_no_address() -> None:
    async with end(1, peer(0)) as b, end(0, peer(1, b.wireguard.listen_port)) as a:
        await passes(a, b)
        (known,) = b.wireguard.tunnel.peers.values()
        protocol = b.wireguard.udp.get_protocol()
        protocol.error_received(aiotun.errors.PathMTUError(1280, known.endpoint))
        assert known._local == "127.0.0.1"
        protocol.error_received(OSError(errno.EADDRNOTAVAIL, "it is gone"))
        assert known._local is None


async def test_port_zero() -> None:
    """A datagram can be forged to come from there, and none can go there."""
    async with end(0) as a:
        a.wireguard.set_peer(peer(1, 0))
        a.wireguard.tunnel.peers[PUBLIC[1]].initiate(endpoint.clock())
        a.wireguard._pass_on()
        assert a.wireguard.udp.counters.datagrams_sent == 0
        assert a.wireguard.tunnel.counters.no_endpoint == 1


@pytest.mark.parametrize("asked", [False, True])
async def test_the_tunnel_knows_what_its_device_coalesces(asked: bool) -> None:
    near, far = memory_devices(udp_zero_checksum=asked)
    with far:
        async with WireGuard(InterfaceConfig(KEYS[0]), device=near) as wireguard:
            assert wireguard.tunnel._interface.udp_zero_checksum is asked


async def test_the_mtu_follows_the_device() -> None:
    async with end(0) as a:
        assert a.wireguard.tunnel.mtu == 1420
        a.wireguard.device.mtu = 1300
        await until(lambda: a.wireguard.tunnel.mtu == 1300)


async def test_a_name_is_looked_up_again_while_nobody_answers(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its addresses are tried in turn."""
    monkeypatch.setattr(peer_module, "REKEY_TIMEOUT", 0.05)
    monkeypatch.setattr(peer_module, "JITTER", 0.01)
    monkeypatch.setattr(endpoint, "TIMER_SLACK", 0.01)
    names.known["vpn.example"] = "127.0.0.2"  # where nobody is
    async with end(1, peer(0)) as b, end(0, to_name(1, b.wireguard.listen_port)) as a:
        b.wireguard.udp.pause_reading()
        known = a.wireguard.tunnel.peers[PUBLIC[1]]
        await until(lambda: names.asked.count("vpn.example") >= 3)
        assert known.last_handshake is None
        b.wireguard.udp.resume_reading()
        names.known["vpn.example"] = "127.0.0.1"
        await until(lambda: known.last_handshake is not None)
        await until(lambda: not a.wireguard._names._tasks)
        asked = len(names.asked)
        await passes(a, b)
        assert len(names.asked) == asked


V6, V4 = ("2001:db8::1", 1, 0, 0), ("192.0.2.1", 1)


@pytest.mark.parametrize(
    ("found", "tried", "expected"),
    [
        ([V6, V4], None, V6),
        ([V6, V4], V6, V4),
        ([V6, V4], V4, V6),
        ([V6, V4], ("192.0.2.9", 1), V6),
        ([V4], V4, V4),
        ([V6, ("2001:db8::2", 1, 0, 0), V4], V6, V4),
        ([V4, ("192.0.2.2", 1), V6], V4, V6),
        ([V4, V4, ("192.0.2.2", 1)], V4, ("192.0.2.2", 1)),
    ],
)
def test_the_next_address_of_a_name(found: list[Any], tried: Any, expected: Any) -> None:
    infos = [
        (socket.AF_INET6 if len(each) == 4 else socket.AF_INET, 2, 17, "", each) for each in found
    ]
    assert _next_address(infos, tried) == expected
