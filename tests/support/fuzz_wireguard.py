"""Fuzz WireGuard: real messages, mutated, at every state of a tunnel.

`python -m tests.support.fuzz_wireguard --seconds 600` says how many datagrams and packets it tried,
and ends at the first thing that goes wrong with the seed that leads there. The attacker sees
and delays everything on the wire, knows all public keys, and is himself one of the peers.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network

from aiotun import Datagram
from aiotun.aead.replay import WINDOW
from aiotun.offload import NO_OFFLOAD
from aiotun.testing.ping import echo_request
from aiotun.udp import SocketAddress
from aiotun.wireguard.config import PeerConfig
from aiotun.wireguard.core.cookie import SOURCES_MAX, CookieJar, TokenBucket
from aiotun.wireguard.core.messages import COOKIE_REPLY, INITIATION, MAC_SIZE, RESPONSE, TRANSPORT
from aiotun.wireguard.core.peer import QUEUE_MAX
from aiotun.wireguard.core.tunnel import Tunnel
from aiotun.wireguard.keys import clamp

__all__ = ["Fuzzer", "fuzz"]

STEPS = 300
"""Of one round; after it the honest peer must get through."""

PATIENCE = 1.0
"""Seconds of processor time for one step: none needs more than some milliseconds."""

HANG = 60
"""Seconds after which a step that does not end is shown, and all is ended."""

WIRE = 64
"""Datagrams that the attacker keeps."""

Network = IPv4Network | IPv6Network


class Side:
    """A tunnel, and where it is."""

    def __init__(self, fuzzer: Fuzzer, number: int) -> None:
        self.private_key = clamp(fuzzer.random.randbytes(32))
        self.tunnel = Tunnel(
            self.private_key,
            random=random.Random(fuzzer.random.random()),
            wall_clock=lambda: 1_700_000_000 + fuzzer.now,
        )
        self.public_key = self.tunnel.public_key
        self.addr: SocketAddress = (f"192.0.2.{number}", 51820)
        self.hosts = (f"10.{number}.0.1", f"fd0{number}::1")
        self.networks: tuple[Network, ...] = (
            ip_network(f"10.{number}.0.0/16"),
            ip_network(f"fd0{number}::/64"),
        )


class Fuzzer:
    """One round."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.victim, self.friend, self.traitor = (Side(self, number) for number in (1, 2, 3))
        self.sides = (self.victim, self.friend, self.traitor)
        for side in (self.friend, self.traitor):
            self.introduce(side, self.victim)
            self.introduce(self.victim, side)
        self.wire: deque[bytes] = deque(maxlen=WIRE)
        self.under_way: set[bytes] = set()
        """What the friend sent, without what ECN may change, and the victim did not deliver."""
        self.initiations = self.removals = self.responses = 0
        """Of the peers; of a peer, which makes its initiations new again; and of the victim."""
        self.number = 0
        self.tried = Counter[str]()

    def introduce(self, side: Side, other: Side, psk: bytes = bytes(32)) -> None:
        config = PeerConfig(other.public_key, psk, None, other.networks)
        side.tunnel.set_peer(config, self.now, other.addr)

    # What happens.

    def run(self) -> None:
        steps = [self.talk, self.deliver, self.attack, self.betray, self.device, self.wait]
        weights = [3, 4, 8, 2, 1, 1]
        for _ in range(STEPS):
            step = (
                self.change
                if self.random.random() < 0.01
                else self.random.choices(steps, weights)[0]
            )
            self.timed(step)
        self.timed(self.recover)

    def timed(self, step: Callable[[], None]) -> None:
        start = time.thread_time()
        step()
        self.check()
        spent = time.thread_time() - start
        assert spent < PATIENCE, f"{step.__name__} took {spent:.1f} s"

    def talk(self) -> None:
        """Honest packets: from the friend, and from the victim to anybody."""
        sender = self.random.choice((self.friend, self.victim))
        receiver = self.victim if sender is self.friend else self.random.choice(self.sides)
        packets = [self.packet(sender, receiver) for _ in range(self.random.choice((1, 1, 2, 40)))]
        if sender is self.friend:
            self.under_way.update(map(essence, packets))
            session = self.friend.tunnel.peers[self.victim.public_key]._current
            if session is not None and self.random.random() < 0.1:
                session.sent += WINDOW  # as if so many were lost
        sender.tunnel.packets_from_device(packets, self.now)

    def deliver(self) -> None:
        """What was sent arrives, most of it, and not always in its order."""
        for side in self.sides:
            sent = self.sent_by(side)
            for other in self.sides:
                arrived = [
                    Datagram(data, side.addr, other.addr[0], ecn)
                    for addr, data, ecn in sent
                    if addr == other.addr and self.random.random() < 0.8
                ]
                if self.random.random() < 0.3:
                    self.random.shuffle(arrived)
                other.tunnel.datagrams_received(arrived, self.now)

    def sent_by(self, side: Side) -> list[tuple[SocketAddress, bytes, int]]:
        """Where to, what and with which mark; the attacker sees all of it."""
        sent = [
            (addr, data, ecn)
            for addr, _, ecn, messages in side.tunnel.take_datagrams()
            for data in messages
        ]
        kinds = [data[:4] for _, data, _ in sent]
        if side is self.victim:
            self.responses += kinds.count(RESPONSE)
            answerable = self.initiations * (1 + self.removals)
            assert self.responses <= answerable, "it answered an initiation twice"
        else:
            self.initiations += kinds.count(INITIATION)
        self.wire.extend(data for _, data, _ in sent)
        return sent

    def attack(self) -> None:
        """Datagrams from nobody knows whom."""
        addr, local = self.random.choice(ADDRESSES), self.victim.addr[0]
        addr = self.random.choice((addr, self.friend.addr))
        datagrams = [
            Datagram(self.mutated(), addr, local, self.random.randrange(4))
            for _ in range(self.random.choice((1, 1, 1, 5, 50)))
        ]
        self.sent_by(self.victim)
        for datagram in datagrams:
            self.tried[KINDS.get(datagram.data[:4], "other")] += 1
        self.victim.tunnel.datagrams_received(datagrams, self.now)
        answers = [
            data for _, data, _ in self.sent_by(self.victim) if data[:4] in (RESPONSE, COOKIE_REPLY)
        ]
        asked = sum(len(each.data) for each in datagrams if each.data[:4] in (INITIATION, RESPONSE))
        assert sum(map(len, answers)) <= asked, "it answers more than it was asked"

    def betray(self) -> None:
        """A peer with a session sends what it likes, under counters as it likes."""
        peer = self.traitor.tunnel.peers[self.victim.public_key]
        if peer._current is not None and self.random.random() < 0.1:
            peer._current.sent = int.from_bytes(self.random.choice(COUNTERS), "little")
        sender = self.random.choice(self.sides)
        packets = [self.damaged(self.packet(sender, self.victim)) for _ in range(3)]
        packets[0] = bytes([0x40 | self.random.randrange(48)]) + packets[0][1:]  # version and IHL
        self.tried["inner"] += len(packets)
        peer.send([NO_OFFLOAD + packet for packet in packets], self.now, self.random.randrange(4))

    def device(self) -> None:
        """Nothing promises what a device hands out."""
        packets = [self.damaged(self.packet(self.victim, self.friend)) for _ in range(3)]
        self.tried["device"] += len(packets)
        self.victim.tunnel.packets_from_device(packets, self.now)

    def wait(self) -> None:
        self.now += self.random.choice((0.0, 0.001, 0.3, 5.4, 10.0, 60.0, 125.0, 181.0, 541.0))
        for side in self.sides:
            side.tunnel.tick(self.now)

    def change(self) -> None:
        """Settings change while messages are on their way, and load comes and goes."""
        tunnel, key = self.victim.tunnel, self.friend.public_key
        what = self.random.randrange(4)
        if what == 0 and key in tunnel.peers:
            tunnel.remove_peer(key)
            self.removals += 1
        elif what == 1:
            tunnel.set_private_key(self.victim.private_key)
        elif what == 2:
            load = self.random.random() < 0.7
            tunnel._unproven = TokenBucket(0, 0) if load else TokenBucket(1000, 1000)
        else:
            self.introduce(
                self.victim, self.friend, self.random.choice((bytes(32), bytes(31) + b"1"))
            )

    def recover(self) -> None:
        """Left alone, with settings that fit, the friend gets through."""
        self.introduce(self.victim, self.friend)
        for _ in range(60):
            packet = self.packet(self.friend, self.victim)
            self.under_way.add(essence(packet))
            self.friend.tunnel.packets_from_device([packet], self.now)
            for side, other in ((self.friend, self.victim), (self.victim, self.friend)) * 2:
                side.tunnel.tick(self.now)
                datagrams = [
                    Datagram(data, side.addr, None, 0) for _, data, _ in self.sent_by(side)
                ]
                other.tunnel.datagrams_received(datagrams, self.now)
            self.check()
            if essence(packet) not in self.under_way:
                return
            self.now += 1
        raise AssertionError("the friend does not get through any more")

    # What must hold.

    def check(self) -> None:
        tunnel = self.victim.tunnel
        for packet in tunnel.take_packets():
            owner = next(side for side in self.sides if is_of(side, packet))
            assert owner is not self.victim, "a packet from an address of its own"
            if owner is self.friend:
                assert essence(packet) in self.under_way, "not sent, or delivered twice"
                self.under_way.discard(essence(packet))
        interface, count = tunnel._interface, len(tunnel.peers)
        assert len(interface.sessions) <= 3 * count
        assert len(interface.indices) <= 4 * count
        for limiter in (tunnel._sources, tunnel._cookies._shares):
            assert len(limiter._buckets) <= SOURCES_MAX
        assert all(len(peer._queue) <= QUEUE_MAX for peer in tunnel.peers.values())

    # What is sent.

    def packet(self, sender: Side, receiver: Side) -> bytes:
        """No two are the same."""
        self.number += 1
        which = self.random.randrange(2)
        data = self.number.to_bytes(8, "big") + bytes(self.random.choice((0, 1, 50, 1300)))
        packet = bytearray(echo_request(sender.hosts[which], receiver.hosts[which], 1, 1, data))
        packet[1] |= self.random.choice((0, 0, 1, 2, 3)) << (4 * which)  # ECN, of IPv4 and of IPv6
        return bytes(packet)

    def mutated(self) -> bytes:
        """A message as it never was, mostly."""
        data = self.random.choice(self.wire) if self.wire else b""
        for _ in range(self.random.choice((0, 1, 1, 2, 3))):
            data = self.damaged(data)
        if self.random.random() < 0.3:
            data = self.random.choice(list(KINDS)) + data[4:]
        if self.random.random() < 0.3 and self.wire:  # another's index
            data = data[:4] + self.random.choice(self.wire)[4:8] + data[8:]
        if data[:4] in (INITIATION, RESPONSE) and self.random.random() < 0.7:
            data = CookieJar(self.victim.public_key).stamp(data[: -2 * MAC_SIZE], self.now)
        return data

    def damaged(self, data: bytes) -> bytes:
        choose = self.random.randrange
        place = choose(len(data) + 1)
        what = choose(8)
        if what == 0:
            return data[:place]
        if what == 1:
            return data + self.random.randbytes(self.random.choice((1, 16, 100, 60_000)))
        if what == 2:
            return data[:place] + self.random.randbytes(8) + data[place + 8 :]
        if what == 3:
            return data[:place] + self.random.choice((bytes(8), b"\xff" * 8)) + data[place + 8 :]
        if what == 4 and self.wire:
            return data[:place] + self.random.choice(self.wire)[place:]
        if what == 5:
            return data[:8] + self.random.choice(COUNTERS) + data[16:]
        if place < len(data):
            return data[:place] + bytes([data[place] ^ 1 << choose(8)]) + data[place + 1 :]
        return data


KINDS = {
    INITIATION: "initiation",
    RESPONSE: "response",
    COOKIE_REPLY: "cookie",
    TRANSPORT: "transport",
}

COUNTERS = [
    number.to_bytes(8, "little")
    for number in (
        0,
        1,
        5000,
        10_000,
        2**32,
        2**60,
        2**64 - 2**13 - 10,
        2**64 - 2**13 - 1,
        2**64 - 10,
    )
]

ADDRESSES: list[SocketAddress] = [
    ("203.0.113.9", 0),
    ("203.0.113.9", 65535),
    ("2001:db8::9", 51820, 0, 0),
    ("fe80::1%eth0", 51820, 0, 2),
    *((f"198.51.100.{number}", 51820) for number in range(20)),
]


def is_of(side: Side, packet: bytes) -> bool:
    """Whether a whole IP packet is from one of these networks."""
    if packet[0] >> 4 == 4:
        assert int.from_bytes(packet[2:4], "big") == len(packet) >= 20
        source = packet[12:16]
    else:
        assert packet[0] >> 4 == 6
        assert int.from_bytes(packet[4:6], "big") == len(packet) - 40
        source = packet[8:24]
    return any(
        network.max_prefixlen == 8 * len(source)
        and int.from_bytes(source, "big") & int(network.netmask) == int(network.network_address)
        for network in side.networks
    )


def essence(packet: bytes) -> bytes:
    """All of a packet but what its ECN field and the IPv4 header checksum are part of."""
    return packet[12:] if packet[0] >> 4 == 4 else packet[4:]


def fuzz(seconds: float, seed: int) -> Counter[str]:
    """What was tried, by kind, in rounds with growing seeds. Raises what went wrong."""
    tried = Counter[str]()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        fuzzer = Fuzzer(seed)
        try:
            fuzzer.run()
        except Exception:
            print(f"seed {seed} leads there: --seed {seed} --seconds 0.1", file=sys.stderr)
            raise
        tried += fuzzer.tried
        tried["rounds"] += 1
        seed += 1
    return tried


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.fuzz_wireguard", description=__doc__
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    args = parser.parse_args()
    total = Counter[str]()
    step = max(args.seconds / 20, 0.1)
    end = time.monotonic() + args.seconds
    while time.monotonic() < end:
        faulthandler.dump_traceback_later(step + HANG, exit=True)
        total += fuzz(step, args.seed + total["rounds"])
        gc.collect()
        import resource  # not on Windows

        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{dict(total)}, {memory} MB at most", flush=True)


if __name__ == "__main__":
    main()
