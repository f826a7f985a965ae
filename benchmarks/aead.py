"""Sealing and opening beside OpenSSL's own speed: `python -m benchmarks.aead`.

OpenSSL's speed is what `openssl speed` says of packets of this size, in processor time, as
sealing and opening are measured. It sets one nonce and takes one tag in all. So a C program tells
what OpenSSL takes where each packet has its own, as each must; where that can be built, the same
is held against it. Threads are measured in real time, and want idle cores: on messages that are an
object each, and on trains of super-packets.
Rounds alternate; a figure is the median of the ratios within a round, with quartiles.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import time
from collections.abc import Callable

from aiotun import aead

from .floors import AEAD_FLOORS
from .micro import super_packet
from .programs import PEERS, BuildError, Program

__all__ = ["main"]

SIZE = 1420
"""Bytes of a packet in WireGuard's tunnels."""

BATCH = 64
SHARED = 1024
"""Packets in a batch that two threads share."""

FRAMES = 24
"""Super-packets in such a batch, each sealed to a train."""

SECONDS = 0.3
"""Seconds that one figure is measured."""

KEY = bytes(32)

PACKETS = Program(
    "OpenSSL, packet by packet",
    (str(PEERS / "openssl/target/packets"),),
    PEERS / "openssl",
    ("cc", "-O2", "-o", "target/packets", "packets.c", "-lcrypto"),
)


def openssl(algorithm: str) -> float:
    """Processor time in which OpenSSL seals a packet, by its own word. Raises `OSError`."""
    command = ("openssl", "speed", "-seconds", "1", "-bytes", str(SIZE), "-evp", algorithm)
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"([\d.]+)k\s*$", printed)
    if found is None:
        raise OSError(f"{' '.join(command)} printed no speed")
    return SIZE / (float(found[1]) * 1000)


def by_packet(algorithm: str) -> tuple[float, float]:
    """Processor time in which OpenSSL seals, and opens, a packet with its own nonce and tag."""
    command = (*PACKETS.command, algorithm, str(SIZE))
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seal, opened = (float(nanoseconds) / 1e9 for nanoseconds in printed.split())
    return seal, opened


def each(function: Callable[[], object], packets: int, clock: Callable[[], float]) -> float:
    """Seconds by that clock that a packet takes, of calls that take this many."""
    calls, start = 0, clock()
    while (taken := clock() - start) < SECONDS:
        function()
        calls += 1
    return taken / calls / packets


def measure(algorithm: aead.Algorithm, compiled: bool) -> dict[str, float]:
    """One round: ratios by what they are called; `compiled`: with those to `PACKETS`."""
    packets, head = [bytes(SIZE)] * BATCH, bytes(8)
    sealer, opener = aead.Sealer(KEY, algorithm), aead.Opener(KEY, len(head), algorithm)
    messages = sealer.seal(packets, head, 0)
    own = openssl(algorithm)
    seal = each(lambda: sealer.seal(packets, head, 0), BATCH, time.process_time)
    opened = each(lambda: opener.open(messages), BATCH, time.process_time)
    many = [bytes(SIZE)] * SHARED
    shared = aead.Sealer(KEY, algorithm, threads=2)
    one = each(lambda: sealer.seal(many, head, 0), SHARED, time.perf_counter)
    two = each(lambda: shared.seal(many, head, 0), SHARED, time.perf_counter)
    frames = [super_packet(SIZE)] * FRAMES
    trains_one = each(lambda: sealer.seal_frames(frames, head, 0), FRAMES, time.perf_counter)
    trains_two = each(lambda: shared.seal_frames(frames, head, 0), FRAMES, time.perf_counter)
    ratios = {"seal / OpenSSL": seal / own, "open / OpenSSL": opened / own}
    if compiled:
        seal_own, open_own = by_packet(algorithm)
        ratios["seal / its packets"] = seal / seal_own
        ratios["open / its packets"] = opened / open_own
    return ratios | {"two threads": one / two, "two threads, trains": trains_one / trains_two}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    print(f"{BATCH} packets of {SIZE} bytes, {aead.implementation}; two threads: {SHARED} packets")
    try:
        PACKETS.prepare()
    except BuildError as exc:
        print(f"not held against {PACKETS.title}: {exc}")
        compiled = False
    else:
        compiled = True
    algorithms: tuple[aead.Algorithm, ...] = ("chacha20-poly1305", "aes-256-gcm")
    rounds = [{name: measure(name, compiled) for name in algorithms} for _ in range(args.rounds)]
    for algorithm in algorithms:
        for what in rounds[0][algorithm]:
            ratios = [each_round[algorithm][what] for each_round in rounds]
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(f"{algorithm:18} {what:19} {middle:.2f} ({low:.2f} to {high:.2f})", end="")
            bound = AEAD_FLOORS.get(what)
            if bound is None:
                print()
                continue
            more = what.startswith("two threads")
            met, sign = (middle >= bound, "≥") if more else (middle <= bound, "≤")
            print(f"  {sign} {bound}: {'pass' if met else 'MISS'}")


if __name__ == "__main__":
    main()
