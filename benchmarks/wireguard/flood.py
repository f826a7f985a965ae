"""python -m benchmarks.wireguard.flood HOST PORT KEY RATE: initiations of nobody's, without end.

Each is right in every part, so that all the work is done for it before it turns out that its
sender is no peer; each comes from another port. KEY is the victim's public key in hexadecimal,
RATE what to send a second. It says how many were sent, every second.
"""

from __future__ import annotations

import itertools
import socket
import sys
import time

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from aiotun.wireguard.core.cookie import CookieJar
from aiotun.wireguard.core.messages import Initiation
from aiotun.wireguard.core.noise import Initiator

DIFFERENT = 500
"""Initiations made beforehand."""

SOCKETS = 50


def initiation(victim: bytes, index: int) -> bytes:
    noise = Initiator(X25519PrivateKey.generate(), victim).initiation(bytes(12))
    return CookieJar(victim).stamp(Initiation(index, noise).pack(), 0)


def main(host: str, port: int, victim: bytes, rate: int) -> None:
    messages = itertools.cycle([initiation(victim, index) for index in range(DIFFERENT)])
    sockets = []
    for _ in range(SOCKETS):
        sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sockets[-1].connect((host, port))
    print("ready", flush=True)
    start = told = time.monotonic()
    sent = 0
    while True:
        for each in sockets:
            each.send(next(messages))
        sent += SOCKETS
        now = time.monotonic()
        if now - told > 1:
            print(sent, flush=True)
            told = now
        ahead = sent / rate - (now - start)
        if ahead > 0:
            time.sleep(ahead)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3]), int(sys.argv[4]))
