"""Sealing and opening beside OpenSSL's own speed: `python -m benchmarks.aead`.

OpenSSL's speed is what `openssl speed` says of packets of this size, in processor time, as
sealing and opening are measured; threads are measured in real time, and want idle cores.
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

__all__ = ["main"]

SIZE = 1420
"""Bytes of a packet in WireGuard's tunnels."""

BATCH = 64
SHARED = 1024
"""Packets in a batch that two threads share."""

SECONDS = 0.3
"""Seconds that one figure is measured."""

KEY = bytes(32)


def openssl(algorithm: str) -> float:
    """Processor time in which OpenSSL seals a packet, by its own word. Raises `OSError`."""
    command = ("openssl", "speed", "-seconds", "1", "-bytes", str(SIZE), "-evp", algorithm)
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"([\d.]+)k\s*$", printed)
    if found is None:
        raise OSError(f"{' '.join(command)} printed no speed")
    return SIZE / (float(found[1]) * 1000)


def each(function: Callable[[], object], packets: int, clock: Callable[[], float]) -> float:
    """Seconds by that clock that a packet takes, of calls that take this many."""
    calls, start = 0, clock()
    while (taken := clock() - start) < SECONDS:
        function()
        calls += 1
    return taken / calls / packets


def measure(algorithm: aead.Algorithm) -> dict[str, float]:
    """One round: ratios by what they are called."""
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
    return {"seal / OpenSSL": seal / own, "open / OpenSSL": opened / own, "two threads": one / two}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    print(f"{BATCH} packets of {SIZE} bytes, {aead.implementation}; two threads: {SHARED} packets")
    algorithms: tuple[aead.Algorithm, ...] = ("chacha20-poly1305", "aes-256-gcm")
    rounds = [{name: measure(name) for name in algorithms} for _ in range(args.rounds)]
    for algorithm in algorithms:
        for what in rounds[0][algorithm]:
            ratios = [each_round[algorithm][what] for each_round in rounds]
            low, middle, high = statistics.quantiles(ratios, n=4)
            bound = AEAD_FLOORS[what]
            met, sign = (middle >= bound, "≥") if what == "two threads" else (middle <= bound, "≤")
            verdict = f"{sign} {bound}: {'pass' if met else 'MISS'}"
            print(f"{algorithm:18} {what:16} {middle:.2f} ({low:.2f} to {high:.2f})  {verdict}")


if __name__ == "__main__":
    main()
