"""A WireGuard service of three servers and three nodes of NATS, while things break.

    python -m benchmarks.wireguard.chaos [--seconds 600] [--peers 300]

Each server and each node of NATS stands in a network namespace, one of each at a site; a router
joins the sites and the clients, which ping the service and each other once a second. Servers are
killed and come back, nodes of NATS too, a site is cut off, all of NATS restarts; meanwhile peers
are added, disabled and enabled. At the end it is held against what was promised:

- a client that gets no answer goes to the next server, and is answered again within a bounded time;
- a disabled peer is answered no more, two seconds after its server could read the store;
- no address is given twice, and nothing that was acknowledged is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import os
import random
import statistics
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, ip_network
from operator import itemgetter
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

import aiotun
from aiotun.offload import checksum
from aiotun.testing.namespace import Namespace, enter_namespace
from aiotun.wireguard.cli.peer import add_peer
from aiotun.wireguard.config import PeerConfig
from aiotun.wireguard.core.peer import Peer
from aiotun.wireguard.core.tunnel import Tunnel
from aiotun.wireguard.endpoint import clock
from aiotun.wireguard.keys import encode_key, generate_private_key, public_key_of
from aiotun.wireguard.stores.base import Change
from aiotun.wireguard.stores.nats import NatsStore

from ..processes import Process
from .nodes import PORT, connect, give_address

SITES = 3
SERVICE = IPv4Address("10.9.0.1")
POOL = f"{SERVICE}/16"

NATS = Path(sysconfig.get_path("scripts"), "nats-server")

PING_INTERVAL = 1.0

RESUME = 15.0 + 5.4 + PING_INTERVAL + 3.0
"""Seconds: KEEPALIVE_TIMEOUT + REKEY_TIMEOUT until a client begins a handshake, REKEY_TIMEOUT
until it goes on to the next server, its next ping; and what a busy machine may add."""

REVOKED = 2.0
SLACK = 0.5
"""Seconds that a measurement may be late on a busy machine."""

BREAKS = ["server", "nats", "cut", "all"]
"""A server is killed, a node of NATS is, a site is cut off, all of NATS is killed."""

METRICS = "aiotun_wireguard"

ECHO_REPLY, ECHO_REQUEST = 0, 8  # RFC 792


class Site:
    """One place with a server and a node of NATS."""

    def __init__(self, number: int, folder: Path, router: Namespace, key: bytes) -> None:
        self.number = number
        self.namespace = Namespace()
        self.link = f"site{number}"
        self.address = f"10.1.{number}.2"
        self._router = router
        connect(router, self.namespace, (self.link, "eth0"))
        give_address(router, self.link, f"10.1.{number}.1/24")
        give_address(self.namespace, "eth0", f"{self.address}/24")
        self.namespace.command("ip", "route", "add", "default", "via", f"10.1.{number}.1")
        for name, value in (("ip_forward", 1), ("conf.all.send_redirects", 0)):
            self.namespace.sysctl(f"net.ipv4.{name}", value)
        self._folder = folder / f"site{number}"
        self._folder.mkdir()
        self.metrics = self._folder / "metrics.sock"
        self._file = self._folder / "wg0.conf"
        self._file.touch(0o600)
        self._file.write_text(
            f"[Interface]\nPrivateKey = {encode_key(key)}\nAddress = {POOL}\nListenPort = {PORT}\n"
        )
        self.server: Process | None = None
        self.nats: subprocess.Popen[str] | None = None
        self.probe: Process | None = None

    def start_nats(self) -> None:
        routes = ",".join(f"nats://10.1.{n}.2:6222" for n in range(1, SITES + 1))
        self.nats = self.namespace.run(
            subprocess.Popen,
            [
                *(str(NATS), "-js", "-sd", str(self._folder / "nats"), "-a", self.address),
                *("-p", "4222", "--name", f"nats{self.number}", "--cluster_name", "chaos"),
                *("--cluster", f"nats://{self.address}:6222", "--routes", routes),
                *("-l", str(self._folder / "nats.log")),
            ],
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def kill_nats(self) -> None:
        if self.nats is not None:
            self.nats.kill()
            self.nats.wait()
            self.nats = None

    def start_server(self, store: str) -> None:
        self.server = Process(
            self.namespace,
            *(sys.executable, "-m", "aiotun", "wireguard", "serve", str(self._file), "--no-uapi"),
            *("--store", store, "--link", f"{self.address}:{PORT + 1}"),
            *("--metrics", f"unix:{self.metrics}"),
        )

    def kill_server(self) -> None:
        if self.server is not None:
            self.server._process.kill()
            self.server.close()
            self.server = None

    def start_probe(self, store: str) -> None:
        module = (sys.executable, "-u", "-m", __spec__.name, "--probe", store)
        self.probe = Process(self.namespace, *module)

    def cut(self, cut: bool) -> None:
        self._router.command("ip", "link", "set", self.link, "down" if cut else "up")

    def close(self) -> None:
        self.kill_nats()
        for process in (self.server, self.probe):
            if process is not None:
                process.close()
        self.namespace.close()


class Client(aiotun.UdpProtocol):
    """One peer: it pings the service and another peer, and answers pings."""

    def __init__(self, key: bytes, address: IPv4Address, service: bytes, first: int) -> None:
        self.key = public_key_of(key)
        self.address = address
        self.neighbour = address
        self.tunnel = Tunnel(key)
        everything = (ip_network("0.0.0.0/0"),)
        config = PeerConfig(service, allowed_ips=everything)
        self.service = self.tunnel.set_peer(config, clock(), endpoint(first))
        self.tunnel.on_unanswered(self._next_server)
        self.answers: list[tuple[float, int]] = []
        """When the service answered, and at which site."""
        self.neighbour_answers = self.neighbour_pings = 0
        self.pings = 0

    def connection_made(self, transport: aiotun.UdpTransport) -> None:
        self.transport = transport

    @property
    def site(self) -> int:
        """Where it heard the service last, or looks for it."""
        assert self.service.endpoint is not None
        return int(self.service.endpoint[0].split(".")[2])

    def _next_server(self, peer: Peer) -> None:
        peer.set_endpoint(endpoint(self.site % SITES + 1))

    def ping(self) -> None:
        if self.transport.is_closing():
            return  # the pings of a second are scheduled at its beginning
        self.pings += 1
        packets = [echo(self.address, SERVICE, ECHO_REQUEST, self.pings)]
        if self.neighbour != self.address:
            self.neighbour_pings += 1
            packets.append(echo(self.address, self.neighbour, ECHO_REQUEST, self.pings))
        self.tunnel.packets_from_device(packets, clock())
        self.pass_on()

    def datagrams_received(self, datagrams: list[aiotun.Datagram]) -> None:
        self.tunnel.datagrams_received(datagrams, clock())
        answers = []
        for packet in self.tunnel.take_packets():
            source, kind = IPv4Address(packet[12:16]), packet[20]
            if kind == ECHO_REQUEST:
                number = int.from_bytes(packet[26:28], "big")
                answers.append(echo(self.address, source, ECHO_REPLY, number))
            elif kind == ECHO_REPLY and source == SERVICE:
                self.answers.append((time.monotonic(), self.site))
            elif kind == ECHO_REPLY:
                self.neighbour_answers += 1
        if answers:
            self.tunnel.packets_from_device(answers, clock())
        self.pass_on()

    def pass_on(self) -> None:
        for addr, _, _, data in self.tunnel.take_datagrams():
            with contextlib.suppress(OSError):
                self.transport.sendto_many(data, addr)

    def tick(self) -> None:
        if self.tunnel.next_deadline <= clock():
            self.tunnel.tick(clock())
            self.pass_on()


def endpoint(site: int) -> tuple[str, int]:
    return f"10.1.{site}.2", PORT


def _same(client: Client) -> Client:
    return client


def echo(source: IPv4Address, destination: IPv4Address, kind: int, number: int) -> bytes:
    """A ping, or its answer (RFC 791, RFC 792)."""
    message = struct.pack("!BBHHH", kind, 0, 0, 1, number & 0xFFFF) + bytes(16)
    message = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
    size = 20 + len(message)
    addresses = (source.packed, destination.packed)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, size, 0, 0, 64, 1, 0, *addresses)
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    return head + message


@dataclass
class Disabling:
    """One time that a client was disabled: seconds of the monotonic clock."""

    client: Client
    begun: float
    """From then on it may be disabled."""
    acknowledged: float = math.inf
    ending: float = math.inf
    """From then on it may be enabled again."""
    ended: float = math.inf

    def explains(self, client: Client, since: float, until: float) -> bool:
        """Whether the client was not answered in that time for this reason."""
        return client is self.client and since < self.ended + RESUME and until > self.begun


class Chaos:
    def __init__(self, sites: list[Site], store: str, seed: int, breaks: list[str]) -> None:
        self.sites = sites
        self.breaks = breaks
        self.store = store
        self.random = random.Random(seed)
        self.clients: list[Client] = []
        self.service = generate_private_key()
        self.events: list[tuple[float, str]] = []
        self.disabled: list[Disabling] = []
        self.acknowledged: dict[bytes, bool] = {}
        """What was acknowledged last of each peer: whether it is enabled."""
        self.uncertain: set[bytes] = set()
        """Peers of which a change is not acknowledged yet: it holds, or does not."""
        self.refused = 0
        """Changes that the store gave up, and that were tried again."""
        self.lag = 0.0
        """Seconds that the clients' own loop was late at most."""

    def note(self, what: str) -> None:
        self.events.append((time.monotonic(), what))
        print(f"{time.monotonic() - self.events[0][0]:7.1f} s  {what}", flush=True)

    async def add_clients(self, store: NatsStore, count: int) -> None:
        for _ in range(count):
            key = generate_private_key()
            added = await add_peer(store, PeerConfig(public_key_of(key)), [POOL])
            address = IPv4Address(added.allowed_ips[0].network_address)
            site = self.random.randint(1, SITES)
            client = Client(key, address, public_key_of(self.service), site)
            await aiotun.create_udp_endpoint(partial(_same, client), ("0.0.0.0", 0))
            self.acknowledged[client.key] = True
            self.clients.append(client)

    async def run(self, seconds: float, peers: int) -> bool:
        for site in self.sites:
            site.start_nats()
        async with opened(self.store) as store:
            await self.add_clients(store, peers)
            for site in self.sites:
                site.start_probe(self.store)
                site.start_server(self.store)
            for site in self.sites:
                assert site.server is not None
                await asyncio.to_thread(site.server.wait_for, "wg0 is up", 60)
            for number, client in enumerate(self.clients):
                client.neighbour = self.clients[(number + 1) % len(self.clients)].address
            self.note(f"{peers} peers begin")
            background = [asyncio.ensure_future(self.traffic()), asyncio.ensure_future(self.tick())]
            while not all(client.answers for client in self.clients):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            self.begin = time.monotonic()
            for client in self.clients:
                client.pings = client.neighbour_pings = client.neighbour_answers = 0
                client.answers.clear()
            background.append(asyncio.ensure_future(self.operate(store)))
            try:
                while time.monotonic() - self.begin < seconds:
                    await self.break_something()
                self.note("calm")
                await asyncio.sleep(3)
            finally:
                for task in background:
                    task.cancel()
                results = await asyncio.gather(*background, return_exceptions=True)
                for client in self.clients:
                    client.transport.pause_reading()
                    client.transport.abort()
            for result in results:
                if not isinstance(result, asyncio.CancelledError):
                    raise RuntimeError("a part of the clients failed") from result
            found, _ = await store.peers()
            drops = await self._drops()
        print(f"dropped by the servers, and handshakes: {drops}")
        return self.judge(found)

    async def _drops(self) -> dict[str, int]:
        """By reason, of all servers since each began."""
        drops: Counter[str] = Counter()
        for site in self.sites:
            connector = aiohttp.UnixConnector(str(site.metrics))
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.get("http://localhost/metrics") as answer,
            ):
                for family in text_string_to_metric_families(await answer.text()):
                    if family.name in (f"{METRICS}_dropped", f"{METRICS}_handshakes"):
                        for sample in family.samples:
                            reason = sample.labels.get("reason") or sample.labels["result"]
                            drops[reason] += int(sample.value)
        return {reason: count for reason, count in drops.items() if count}

    async def traffic(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for number, client in enumerate(self.clients):
                loop.call_later(PING_INTERVAL * number / len(self.clients), client.ping)
            await asyncio.sleep(PING_INTERVAL)

    async def tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for client in self.clients:
                client.tick()
            due = loop.time() + 0.1
            await asyncio.sleep(0.1)
            self.lag = max(self.lag, loop.time() - due)

    async def operate(self, store: NatsStore) -> None:
        """Disable peers and enable them again, one at a time."""
        while True:
            await asyncio.sleep(2)
            client = self.random.choice(self.clients)
            disabling = Disabling(client, time.monotonic())
            self.disabled.append(disabling)
            disabling.acknowledged = await self._set_enabled(store, client, False)
            await asyncio.sleep(self.random.uniform(3, 12))
            disabling.ending = time.monotonic()
            disabling.ended = await self._set_enabled(store, client, True)

    async def _set_enabled(self, store: NatsStore, client: Client, enabled: bool) -> float:
        """Return when it was acknowledged."""
        address = ip_network(client.address)
        peer = PeerConfig(client.key, allowed_ips=(address,), enabled=enabled)
        self.uncertain.add(client.key)
        while True:
            try:
                await store.change(lambda _: Change(client.key, peer))
            except OSError:
                self.refused += 1
            else:
                self.uncertain.discard(client.key)
                self.acknowledged[client.key] = enabled
                return time.monotonic()

    async def break_something(self) -> None:
        site = self.random.choice(self.sites)
        kind = self.random.choice(self.breaks)
        if kind == "server":
            self.note(f"server {site.number} is killed")
            await asyncio.to_thread(site.kill_server)
            await asyncio.sleep(self.random.uniform(5, 25))
            self.note(f"server {site.number} starts")
            site.start_server(self.store)
        elif kind == "nats":
            self.note(f"NATS {site.number} is killed")
            await asyncio.to_thread(site.kill_nats)
            await asyncio.sleep(self.random.uniform(5, 15))
            self.note(f"NATS {site.number} starts")
            site.start_nats()
        elif kind == "cut":
            self.note(f"site {site.number} is cut off")
            site.cut(True)
            await asyncio.sleep(self.random.uniform(5, 25))
            self.note(f"site {site.number} is back")
            site.cut(False)
        else:
            self.note("all of NATS is killed")
            for each in self.sites:
                await asyncio.to_thread(each.kill_nats)
            await asyncio.sleep(self.random.uniform(1, 5))
            self.note("all of NATS starts")
            for each in self.sites:
                each.start_nats()
        await asyncio.sleep(RESUME)  # one thing at a time, as clients see it

    # What came of it.

    def judge(self, found: dict[bytes, PeerConfig]) -> bool:
        gaps = self._gaps()
        longest = max((gap for gap, _, _ in gaps), default=0.0)
        interrupted = sorted(gap for gap, _, _ in gaps if gap > 2 * PING_INTERVAL)
        late = self._answered_late()
        addresses = [net for peer in found.values() for net in peer.allowed_ips]
        twice = len(addresses) - len(set(addresses))
        lost = [
            key
            for key, enabled in self.acknowledged.items()
            if key not in self.uncertain and (key not in found or found[key].enabled != enabled)
        ]
        pings = sum(client.pings for client in self.clients)
        answers = sum(len(client.answers) for client in self.clients)
        seconds = round(time.monotonic() - self.begin)
        breaks = sum("kill" in what or "cut" in what for _, what in self.events)
        summary = {
            "seconds": seconds,
            "peers": len(self.clients),
            "breaks": breaks,
            "pings": pings,
            "answered": round(answers / pings, 4),
            "answered by another peer": round(
                sum(client.neighbour_answers for client in self.clients)
                / max(1, sum(client.neighbour_pings for client in self.clients)),
                4,
            ),
            "interruptions": len(interrupted),
            "interruption, median": round(statistics.median(interrupted or [0.0]), 1),
            "interruption, longest": round(longest, 1),
            "times disabled": len(self.disabled),
            "answered though disabled": len(late),
            "addresses given twice": twice,
            "acknowledged and lost": len(lost),
            "changes tried again": self.refused,
            "load of the machine, 1 minute": round(os.getloadavg()[0], 1),
            "load of the machine, 15 minutes": round(os.getloadavg()[2], 1),
            "the clients' loop was late at most": round(self.lag, 2),
        }
        print(json.dumps(summary, indent=2))
        for gap, since, client in sorted(gaps, key=itemgetter(0), reverse=True)[:5]:
            number = self.clients.index(client)
            print(f"client {number}: {gap:.1f} s without an answer from {self._at(since)} on")
        for line in late:
            print(line)
        kinds = "all kinds" if self.breaks == BREAKS else ", ".join(self.breaks)
        print(
            f"| {seconds} s, {len(self.clients)} peers | {breaks}: {kinds} | {len(interrupted)} |"
            f" {longest:.1f} s | {len(late)} | {twice + len(lost)} |"
        )
        return longest <= RESUME and not late and not lost and not twice

    def _at(self, when: float) -> str:
        return f"{when - self.events[0][0]:.1f} s"

    def _gaps(self) -> list[tuple[float, float, Client]]:
        """Seconds between answers, since when, and of whom: but for clients that were disabled."""
        end = self.events[-1][0]
        gaps = []
        for client in self.clients:
            times = [self.begin, *(at for at, _ in client.answers if at > self.begin)]
            times = [*times, max(end, times[-1])]
            gaps += [
                (until - since, since, client)
                for since, until in itertools.pairwise(times)
                if not any(each.explains(client, since, until) for each in self.disabled)
            ]
        return gaps

    def _answered_late(self) -> list[str]:
        """Answers to disabled peers, where the server had been able to read the store for long."""
        reads = {site.number: self._reads(site) for site in self.sites}
        return [
            f"client {self.clients.index(each.client)}: answered by site {site} at {self._at(at)},"
            f" {at - each.acknowledged:.1f} s after it was disabled"
            for each in self.disabled
            for at, site in each.client.answers
            if each.acknowledged + REVOKED + SLACK < at < each.ending
            and reachable(reads[site], at - REVOKED - SLACK, at)
        ]

    @staticmethod
    def _reads(site: Site) -> list[float]:
        assert site.probe is not None
        return [float(line) for line in site.probe.output().split()]


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[NatsStore]:
    """The store, as soon as the nodes of NATS have found each other."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(100):
            try:
                store = await stack.enter_async_context(NatsStore.open(url))
            except OSError:
                await asyncio.sleep(0.2)
            else:
                break
        else:
            raise TimeoutError("the nodes of NATS do not find each other")
        yield store


def store_of(sites: list[Site]) -> str:
    """The URL of the store that all nodes of NATS keep."""
    hosts = ",".join(site.address for site in sites)
    return f"nats://{hosts}/peers?replicas={len(sites)}"


def reachable(reads: list[float], since: float, until: float) -> bool:
    """Whether the store was read again and again in that time."""
    inside = reads[bisect_left(reads, since) : bisect_left(reads, until)]
    times = [since, *inside, until]
    return max(after - before for before, after in itertools.pairwise(times)) < 1.0


async def probe(store: str) -> None:
    """Print when the store could be read."""
    while True:
        with contextlib.suppress(OSError):
            async with NatsStore.open(store) as opened:
                while True:
                    try:
                        await opened.peers()
                    except OSError:
                        await asyncio.sleep(0.1)
                    else:
                        print(time.monotonic())
                        await asyncio.sleep(0.2)
        await asyncio.sleep(0.2)


@contextlib.contextmanager
def world(folder: Path, service: bytes) -> Iterator[list[Site]]:
    """Three sites and this process, joined by a router."""
    enter_namespace()
    with Namespace() as router, contextlib.ExitStack() as stack:
        router.sysctl("net.ipv4.ip_forward", 1)
        here = stack.enter_context(contextlib.closing(_Here()))
        connect(router, here, ("clients", "eth0"))
        give_address(router, "clients", "10.1.0.1/24")
        give_address(here, "eth0", "10.1.0.2/24")
        here.command("ip", "route", "add", "default", "via", "10.1.0.1")
        sites = []
        for number in range(1, SITES + 1):
            site = Site(number, folder, router, service)
            stack.callback(site.close)
            sites.append(site)
        yield sites


class _Here(Namespace):
    """The namespace of this process."""

    @staticmethod
    def _create() -> int:
        return os.open("/proc/self/ns/net", os.O_RDONLY)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--peers", type=int, default=300)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--break", dest="breaks", action="append", choices=BREAKS, help="only this; repeatable"
    )
    parser.add_argument("--probe", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.probe:
        asyncio.run(probe(args.probe))
    print(f"seed {args.seed}")
    with tempfile.TemporaryDirectory(prefix="aiotun-chaos-") as name:
        service = generate_private_key()
        with world(Path(name), service) as sites:
            chaos = Chaos(sites, store_of(sites), args.seed, args.breaks or BREAKS)
            chaos.service = service
            passed = asyncio.run(chaos.run(args.seconds, args.peers))
    print("as promised" if passed else "NOT as promised")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
