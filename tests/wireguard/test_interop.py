"""WireGuard beside other implementations of it: programs in namespaces, joined by Ethernet.

Of a pair the first knows where the other is and begins; the second answers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest
from waiting import wait_until

from aiotun.testing import Namespace
from benchmarks.processes import Process
from benchmarks.wireguard.crowd import crowd
from benchmarks.wireguard.nodes import (
    INSIDE,
    OUTSIDE,
    PORT,
    Node,
    address_of,
    connect,
    give_address,
    pair,
)
from benchmarks.wireguard.programs import IMPLEMENTATIONS, MANY
from benchmarks.workloads import parse_iperf

pytestmark = [
    pytest.mark.interop,
    pytest.mark.requires("tun", "netns", "mountns", "ipv6", "ip", "ping", "iperf3", "go", "cargo"),
    pytest.mark.timeout(300),  # whichever comes first builds the peers
]

PAIRS = [
    ("aiotun", "aiotun"),
    ("aiotun", "wireguard-go"),
    ("wireguard-go", "aiotun"),
    ("aiotun", "boringtun"),
    ("boringtun", "aiotun"),
]

(A4, A6), (B4, B6) = (map(address_of, addresses) for addresses in INSIDE)

both_roles = pytest.mark.parametrize(
    ("first", "second"), PAIRS[1:3], ids=[" to ".join(names) for names in PAIRS[1:3]]
)
all_pairs = pytest.mark.parametrize(
    ("first", "second"), PAIRS, ids=[" to ".join(names) for names in PAIRS]
)


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    for program in (*IMPLEMENTATIONS.values(), MANY):
        program.prepare()


@contextmanager
def started(first: str, second: str, outside: int = 4) -> Iterator[tuple[Node, Node]]:
    with pair(first, second, outside=outside) as nodes:
        for node in nodes:
            node.start()
        yield nodes


def impatient(node: Node, *timers: str) -> None:
    """Let ours run with other constants of its timers."""
    assert node.implementation == "aiotun"
    code = (
        f"import runpy; from aiotun.wireguard.core import peer, session; {'; '.join(timers)}; "
        "runpy.run_module('aiotun', run_name='__main__')"
    )
    node.command = (sys.executable, "-c", code, "wireguard", "serve")


def ping(node: Node, address: str, count: int = 3) -> None:
    """Every ping is answered, the first one after the handshake."""
    # With a deadline it goes on until so many were answered, however late.
    out = node.namespace.command("ping", "-c", f"{count}", "-i", "0.2", "-w", "20", address)
    answered = [int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", out)]
    assert answered == list(range(1, count + 1)), out


def reachable(node: Node, address: str, seconds: int = 20) -> bool:
    """Whether any ping of so many seconds is answered: the first answer ends them."""
    try:
        node.namespace.command("ping", "-c", "1", "-i", "0.1", "-w", f"{seconds}", address)
    except subprocess.CalledProcessError:
        return False
    return True


@contextmanager
def transfer(sender: Node, receiver: Node, address: str, *options: str) -> Iterator[Process]:
    """iperf3 as it runs."""
    serve = ("iperf3", "--server", "--one-off", "--forceflush")
    send = ("iperf3", "--client", address, "--json", "--connect-timeout", "5000")
    with Process(receiver.namespace, *serve) as server:
        server.wait_for("listening", 20)
        with Process(sender.namespace, *send, *options) as client:
            yield client


def transferred(sender: Node, receiver: Node, address: str, *options: str) -> dict[str, float]:
    with transfer(sender, receiver, address, *options) as client:
        return parse_iperf(client.finish(30))


STEADY = ("--bitrate", "80M", "--bytes", "20M")
"""A transfer of two seconds, or of as many more as a busy machine takes."""


def flows_to_the_end(client: Process) -> None:
    """All bytes of `STEADY` arrived, but for what was on its way when the sender was done."""
    report = json.loads(client.finish(60))
    assert "error" not in report, report["error"]
    assert report["end"]["sum_received"]["bytes"] > 10_000_000


def last_handshake(node: Node, peer: Node) -> float:
    """Of the peer, in Unix time; boringtun says how long ago."""
    status = node.peers()[peer.public_key.hex()]
    seconds, nanoseconds = (int(status[f"last_handshake_time_{unit}"]) for unit in ("sec", "nsec"))
    said = seconds + 1e-9 * nanoseconds
    return time.time() - said if node.implementation == "boringtun" else said


@all_pairs
@pytest.mark.parametrize("outside", [4, 6], ids=["over IPv4", "over IPv6"])
def test_traffic(first: str, second: str, outside: int) -> None:
    with started(first, second, outside) as (a, b):
        for address in (B4, B6):
            ping(a, address)
        for address in (A4, A6):
            ping(b, address)
        for node, other in ((a, b), (b, a)):
            assert abs(time.time() - last_handshake(node, other)) < 10
        transferred(a, b, B6 if outside == 4 else B4, "--bytes", "2M")
        transferred(b, a, A4 if outside == 4 else A6, "--bytes", "2M")
        # All of it fits into a socket's buffer: no pause of a busy machine costs a packet.
        metrics = transferred(a, b, B4, "--udp", "--bitrate", "1M", "--bytes", "100K")
        assert metrics["loss"] < 1


@all_pairs
def test_preshared_key(first: str, second: str) -> None:
    key = os.urandom(32)
    for other, agreed in ((key, True), (os.urandom(32), False)):
        with pair(first, second, preshared_keys=(key, other)) as (a, b):
            a.start()
            b.start()
            if not agreed:  # it hears of the first all the same
                reachable(a, B4, 1)
                wait_until(lambda: "endpoint" in b.peers()[a.public_key.hex()])
            assert reachable(a, B4, 20 if agreed else 1) == agreed


@both_roles
@pytest.mark.parametrize("moves", ["the first", "the second"])
def test_roaming(first: str, second: str, moves: str) -> None:
    """The address changes during a transfer; whoever moved goes on sending, and is found."""
    with started(first, second) as (a, b):
        who, other, old = (a, b, OUTSIDE[4][0]) if moves == "the first" else (b, a, OUTSIDE[4][1])
        new = "192.0.2.77/24"
        ping(a, B4)  # so that the second knows where the first is
        with transfer(who, other, B4 if who is a else A4, *STEADY) as client:
            time.sleep(0.7)
            who.namespace.command("ip", "address", "delete", old, "dev", "eth0")
            give_address(who.namespace, "eth0", new)
            flows_to_the_end(client)
        ping(who, B4 if who is a else A4)  # it may have moved after the last packet
        assert other.peers()[who.public_key.hex()]["endpoint"] == f"{address_of(new)}:{PORT}"
        ping(other, A4 if who is a else B4)


def test_rekey_during_a_transfer() -> None:
    """Ours begins a session every half second."""
    with pair("aiotun", "wireguard-go") as (a, b):
        impatient(a, "session.REKEY_AFTER_TIME = 0.5", "peer.REKEY_TIMEOUT = 0.2")
        a.start()
        b.start()
        seen = {last_handshake(b, a)}
        while len(seen) < 4:
            with transfer(a, b, B4, *STEADY) as client:
                while client.running:
                    seen.add(last_handshake(b, a))
                    time.sleep(0.1)
                flows_to_the_end(client)


@both_roles
def test_a_session_lost_during_a_transfer(first: str, second: str) -> None:
    """A peer is removed and added again: it knows no session, and begins one itself."""
    with started(first, second) as (a, b):
        with transfer(a, b, B4, *STEADY) as client:
            time.sleep(0.7)
            before = last_handshake(b, a)
            a.set(f"public_key={b.public_key.hex()}", "remove=true")
            a.set(*a.peer_settings)
            flows_to_the_end(client)
        ping(a, B4)  # the transfer may have been over
        assert last_handshake(b, a) > before


@all_pairs
def test_the_first_is_restarted(first: str, second: str) -> None:
    with started(first, second) as (a, b):
        ping(a, B4)
        a.stop()
        a.start()
        ping(a, B4)
        ping(b, A6)


def test_the_second_is_restarted() -> None:
    """It knows neither session nor endpoint: the first has to notice its silence."""
    with pair("aiotun", "wireguard-go") as (a, b):
        impatient(a, "peer.KEEPALIVE_TIMEOUT = 1", "peer.REKEY_TIMEOUT = 1")
        a.start()
        b.start()
        ping(a, B4)
        b.stop()
        b.start()
        assert not last_handshake(b, a)
        assert reachable(a, B4)


@pytest.mark.requires("nft")
@pytest.mark.parametrize("server", ["aiotun", "wireguard-go"])
def test_keepalive_through_nat(server: str) -> None:
    """Three behind a NAT that forgets after 2 s; the one that sends no keep-alive is lost."""
    behind = {
        "10.7.0.11": ("aiotun", 1),
        "10.7.0.12": ("wireguard-go", 1),
        "10.7.0.13": ("aiotun", 0),
    }
    with Namespace() as router, Node(server, "10.7.0.1/24") as public, ExitStack() as stack:
        connect(router, public.namespace, ("out", "eth0"))
        give_address(router, "out", "192.0.2.1/24")
        give_address(public.namespace, "eth0", "192.0.2.2/24")
        clients = {}
        for number, (address, (name, keepalive)) in enumerate(behind.items()):
            client = stack.enter_context(Node(name, f"{address}/24"))
            connect(router, client.namespace, (f"in{number}", "eth0"))
            give_address(router, f"in{number}", f"10.0.{number}.1/24")
            give_address(client.namespace, "eth0", f"10.0.{number}.2/24")
            gateway = ("default", "via", f"10.0.{number}.1")
            client.namespace.command("ip", "route", "add", *gateway)
            client.add_peer(
                public.public_key, "10.7.0.1/32", endpoint="192.0.2.2", keepalive=keepalive
            )
            public.add_peer(client.public_key, f"{address}/32")
            clients[address] = client
        masquerade(router)
        public.start()
        for client in clients.values():
            client.start()
            ping(client, "10.7.0.1")
        for address in behind:
            ping(public, address)
        time.sleep(3.2)
        with ThreadPoolExecutor() as executor:
            expected = [keepalive > 0 for _, keepalive in behind.values()]
            seconds = [20 if answer else 1 for answer in expected]
            answers = list(executor.map(partial(reachable, public), behind, seconds))
        assert answers == expected


def masquerade(router: Namespace) -> None:
    """A NAT that forgets early."""
    router.sysctl("net.ipv4.ip_forward", 1)
    router.command("nft", "add table ip nat")
    router.command("nft", "add chain ip nat post { type nat hook postrouting priority 100 ; }")
    router.command("nft", 'add rule ip nat post oifname "out" masquerade')
    router.sysctl("net.netfilter.nf_conntrack_udp_timeout", 2)
    router.sysctl("net.netfilter.nf_conntrack_udp_timeout_stream", 2)


@pytest.mark.requires("wg")
@pytest.mark.parametrize(
    ("first", "second"), [("aiotun", "linux"), ("linux", "aiotun")], ids=["answers", "begins"]
)
def test_the_kernels_own(first: str, second: str) -> None:
    """Where the kernel has WireGuard; elsewhere it must be for that reason alone."""
    with pair(first, second) as (a, b):
        try:
            for node in (a, b):
                node.start()
        except subprocess.CalledProcessError as exc:
            if re.search("Unknown device type|not supported", exc.stderr):
                return
            raise
        for address in (B4, B6):
            ping(a, address)
        transferred(a, b, B4, "--bytes", "2M")
        transferred(b, a, A6, "--bytes", "2M")


def test_two_hundred_peers_at_once() -> None:
    """All begin in the same moment, and all are answered."""
    with crowd("aiotun", 200) as server:
        received = [int(status["rx_bytes"]) for status in server.peers().values()]
        assert len(received) == 200
        assert all(received)
