#!/bin/sh
# uvloop 0.22.1 on Linux no longer watches a descriptor that had an error: an ICMP "port
# unreachable" at a connected UDP socket is enough. The reader is called for the error, takes it,
# and is not called for the datagrams that come later. `add_reader` anew raises a RuntimeError, and
# only after `remove_reader` it works again. asyncio's own loop calls the reader for all of them.
# libuv stops a poll handle before it tells of an error (uv__poll_io in src/unix/poll.c).
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check uvloop==0.22.1

cat >"$scratch/watch.py" <<'PYTHON'
import asyncio
import platform
import socket
import sys

import uvloop


def udp(*place):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(place or ("127.0.0.1", 0))
    return sock


async def watch(*again):
    """What comes of an error, then a datagram, and another one after these calls."""
    loop = asyncio.get_running_loop()
    with udp() as peer:
        place = peer.getsockname()
    told = []

    def ready():
        try:
            told.append(sock.recv(100).decode())
        except OSError as exc:
            told.append(type(exc).__name__)

    with udp() as sock:
        sock.connect(place)
        loop.add_reader(sock, ready)
        sock.send(b"is anybody there?")
        await asyncio.sleep(0.3)
        with udp(*place) as peer:
            peer.sendto(b"first", sock.getsockname())
            await asyncio.sleep(0.3)
            try:
                for call in again:
                    loop.remove_reader(sock) if call == "remove" else loop.add_reader(sock, ready)
            except RuntimeError as exc:
                told.append(type(exc).__name__)
            peer.sendto(b"second", sock.getsockname())
            await asyncio.sleep(0.3)
        loop.remove_reader(sock)
    return told


def run(new_event_loop, *again):
    loop = new_event_loop()
    try:
        return loop.run_until_complete(watch(*again))
    finally:
        loop.close()


print("CPython", platform.python_version(), "uvloop", uvloop.__version__)
seen = [
    run(asyncio.SelectorEventLoop),
    run(uvloop.new_event_loop),
    run(uvloop.new_event_loop, "add"),
    run(uvloop.new_event_loop, "remove", "add"),
]
for name, told in zip(["asyncio", "uvloop", "uvloop, added", "uvloop, removed and added"], seen):
    print(f"{name}: {told}")
error = "ConnectionRefusedError"
all_of_it = [error, "first", "second"]
sys.exit(seen != [all_of_it, [error], [error, "RuntimeError"], all_of_it])
PYTHON
"$scratch/venv/bin/python" "$scratch/watch.py"
