"""What a service of three servers takes with many peers in its store.

    python -m benchmarks.wireguard.store [--peers 10000] [--changes 10]

Three servers and three nodes of NATS, as in `chaos`, all servers started at once. It prints when
each was up, what memory it took, and how long a change took until it was in force at all three.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import tempfile
import time
from ipaddress import IPv4Address, ip_network
from pathlib import Path

from aiotun.wireguard.config import PeerConfig
from aiotun.wireguard.keys import generate_private_key, public_key_of
from aiotun.wireguard.stores.nats import PEER, NatsStore, encode_peer

from .chaos import Site, opened, store_of, world

AT_ONCE = 200
"""Peers that are written at the same time."""

PATIENCE = 120.0
"""Seconds that a server may take to be up, or a change to be in force."""


def peer(number: int) -> PeerConfig:
    address = IPv4Address("10.9.0.2") + number
    return PeerConfig(public_key_of(generate_private_key()), allowed_ips=(ip_network(address),))


async def fill(store: NatsStore, count: int) -> None:
    """Write peers as they stand in the bucket, without the rules that go across peers."""
    for begin in range(0, count, AT_ONCE):
        some = [peer(number) for number in range(begin, min(begin + AT_ONCE, count))]
        await asyncio.gather(
            *(store._bucket.write(PEER + each.public_key.hex(), encode_peer(each)) for each in some)
        )


async def start(sites: list[Site], url: str, count: int) -> tuple[list[float], list[float]]:
    """Seconds until each server was up, and MB that it took then."""
    begin = time.monotonic()
    for site in sites:
        site.start_server(url)
    up = await asyncio.gather(*(until_peers(site, count) for site in sites))
    return [when - begin for when in up], [memory(site) for site in sites]


async def until_peers(site: Site, count: int) -> float:
    """Wait until the server says that it has so many; when that was."""
    assert site.server is not None
    deadline = time.monotonic() + PATIENCE
    while True:
        said = site.server.output() + site.server.errors()  # that it is up, and each change
        if re.findall(r"peers: (\d+),", said)[-1:] == [str(count)]:
            return time.monotonic()
        site.server.check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"site {site.number} has not {count} peers")
        await asyncio.sleep(0.005)


def memory(site: Site) -> float:
    assert site.server is not None
    status = Path(f"/proc/{site.server.pid}/status").read_text()
    resident = re.search(r"VmRSS:\s+(\d+) kB", status)  # proc(5)
    assert resident is not None
    return int(resident[1]) * 1024 / 1e6


async def change(store: NatsStore, sites: list[Site], count: int) -> float:
    """Add a peer, and remove it again; seconds until the first of it was in force everywhere."""
    added = peer(count)
    await store.put(added)
    begin = time.monotonic()
    taken = max(await asyncio.gather(*(until_peers(site, count + 1) for site in sites))) - begin
    await store.remove(added.public_key)
    await asyncio.gather(*(until_peers(site, count) for site in sites))
    return taken


async def measure(sites: list[Site], count: int, changes: int) -> dict[str, object]:
    for site in sites:
        site.start_nats()
    url = store_of(sites)
    async with opened(url) as store:
        await fill(store, count)
        up, taken = await start(sites, url, count)
        times = [await change(store, sites, count) for _ in range(changes)]
    return {
        "peers": count,
        "a server is up, seconds": [round(each, 2) for each in sorted(up)],
        "memory of a server, MB": [round(each, 1) for each in sorted(taken)],
        "a change is in force at all, seconds, median": round(statistics.median(times), 2),
        "a change is in force at all, seconds, at most": round(max(times), 2),
        "load of the machine, 1 minute": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peers", type=int, default=10_000)
    parser.add_argument("--changes", type=int, default=10)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="aiotun-store-") as folder,
        world(Path(folder), generate_private_key()) as sites,
    ):
        print(json.dumps(asyncio.run(measure(sites, args.peers, args.changes)), indent=2))


if __name__ == "__main__":
    main()
