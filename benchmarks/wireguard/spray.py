"""python -m benchmarks.wireguard.spray COUNT RUN: packets to so many peers of a `crowd`, forever.

So many in a row go to each of them, as long as the MTU allows and as fast as they are taken.
"""

from __future__ import annotations

import itertools
import socket
import sys

from .crowd import host
from .nodes import MTU

DISCARD = 9  # RFC 863


def main(count: int, run: int) -> None:
    data = bytes(MTU - 28)
    places = [(host(number), DISCARD) for number in range(count) for _ in range(run)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        print("ready", flush=True)
        for place in itertools.cycle(places):
            sock.sendto(data, place)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
