"""What another process finds of a closed key in the memory of one that had it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.requires("aead"),
    pytest.mark.skipif(sys.platform != "linux", reason="/proc/PID/mem is Linux'"),
]

SHADOW_MIN = 1 << 28
"""Bytes: an area that is larger is a sanitizer's own."""

KEYED = """
import sys
from math import inf
from aiotun.native._aead import InterfaceState, Opener, PeerState, Sealer, SessionState

read = sys.stdin.buffer.raw.readinto
key = bytearray(32)
read(key)

def pause():
    print(flush=True)
    read(bytearray(1))
"""

ALONE = """
{0}
key[:] = bytes(32)
used.{1}
pause()
used.close()
pause()
"""

FAILED = """
import _testcapi

used, batch = Sealer(key, threads=2), [bytes(1420)] * 300
key[:] = bytes(32)
used.seal(batch, b"", 0)
_testcapi.set_nomemory(100, 101)
try:
    used.seal(batch, b"", 0)
    sys.exit("there was memory")
except MemoryError:
    _testcapi.remove_mem_hooks()
pause()
used.close()
pause()
"""

WITHIN = """
class Peer(PeerState):
    def _will_be(self, due):
        if closing:
            session._sealer.close()

session = SessionState()
session.expires = session.rekey_due = inf
session.sent, session.sealed_head, session._sealer = 0, bytes(8), Sealer(key)
key[:] = bytes(32)
peer = Peer()
peer._current, peer.endpoint, peer._local, peer._patience = session, ("192.0.2.1", 1), None, 1.0
peer.visit = peer._silence_due = inf
interface = InterfaceState()
interface.owners, interface.contacted, interface.sessions = {bytes(4): peer}, {}, {}
interface.outgoing, interface.incoming, interface.mtu = [], [], 1420
for closing in False, True:
    peer._silence_due = inf
    assert interface.seal_for_peers([bytes(10) + b"E" + bytes(39)], 0.0) == []
    pause()
"""


def is_found(key: bytes, pid: int) -> bool:
    """Whether the key is in memory, but for the stack, where OpenSSL may leave it."""
    areas = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    with open(f"/proc/{pid}/mem", "rb") as memory:
        for where, rights, *_, name in areas:
            first, end = (int(each, 16) for each in where.split("-"))
            if rights.startswith("rw") and name != "[stack]" and end - first < SHADOW_MIN:
                memory.seek(first)
                if key in memory.read(end - first):
                    return True
    return False


@pytest.mark.parametrize(
    "script",
    [
        ALONE.format(f"used = {make}{algorithm!r})", use)
        for algorithm in ("chacha20-poly1305", "aes-256-gcm")
        for make, use in [
            ("Sealer(key, ", "seal([bytes(1400)], b'', 0)"),
            ("Opener(key, 0, ", "open([bytes(1400)])"),
        ]
    ]
    + [WITHIN, FAILED],
    ids=[
        "seal",
        "open",
        "seal by AES",
        "open by AES",
        "closed within a call",
        "without memory within a call",
    ],
)
def test_a_closed_key_is_wiped(script: str) -> None:
    key = os.urandom(32)
    command = [sys.executable, "-c", KEYED + script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        for data, found in (key, True), (b"\n", False):
            program.stdin.write(data)
            program.stdin.flush()
            assert program.stdout.readline() == b"\n"
            assert is_found(key, program.pid) == found
        program.stdin.write(b"\n")
    assert not program.returncode
