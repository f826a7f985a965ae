"""Sealer and Opener by the package `cryptography`: the specification of the native ones."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, get_args

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
except ModuleNotFoundError as exc:
    raise ImportError(
        "aiotun.aead needs the package cryptography where its native part was not built: "
        "pip install cryptography"
    ) from exc

from ..kinds import check_kind
from ..offload import GROTable
from ..trains import Train
from .algorithms import COUNTER_MAX, COUNTER_SIZE, KEY_SIZE, NONCE_HEAD_SIZE, TAG_SIZE, Algorithm
from .frames import Opened, open_frames, seal_frames
from .replay import ReplayWindow

if TYPE_CHECKING:
    from cryptography.utils import Buffer

__all__ = ["Opener", "Sealer"]

PACKET_MAX = 1 << 24
PAD_MAX = 65536
THREADS_MAX = 64


class _Key:
    """One key, and how nonces are made for it."""

    def __init__(
        self,
        key: Buffer,
        algorithm: Algorithm,
        nonce_head: Buffer,
        associated_data: bytes,
        threads: int,
    ) -> None:
        key, nonce_head = _whole(key), _whole(nonce_head)
        check_kind(algorithm, "algorithm", str)
        check_kind(associated_data, "associated_data=", bytes)
        check_kind(threads, "threads=", int)
        if algorithm not in get_args(Algorithm):
            known = " or ".join(get_args(Algorithm))
            raise ValueError(f"the algorithm is {known}, not {algorithm}")
        if len(key) != KEY_SIZE:
            raise ValueError(f"a key has {KEY_SIZE} bytes, not {len(key)}")
        if len(nonce_head) != NONCE_HEAD_SIZE:
            raise ValueError(f"a nonce's head has {NONCE_HEAD_SIZE} bytes, not {len(nonce_head)}")
        if len(associated_data) > PACKET_MAX:
            raise ValueError(f"associated data has at most {PACKET_MAX} bytes")
        if not 1 <= threads <= THREADS_MAX:
            raise ValueError(f"threads are 1 to {THREADS_MAX}, not {threads}")
        cipher = ChaCha20Poly1305 if algorithm == "chacha20-poly1305" else AESGCM
        self._cipher: ChaCha20Poly1305 | AESGCM | None = cipher(key)
        self._nonce_head = nonce_head
        self._associated_data = associated_data

    def close(self) -> None:
        self._cipher = None

    def _open_cipher(self) -> ChaCha20Poly1305 | AESGCM:
        if self._cipher is None:
            raise ValueError("the key was closed")
        return self._cipher


class Sealer(_Key):
    """See `_aead.pyi`."""

    def __init__(
        self,
        key: Buffer,
        algorithm: Algorithm = "chacha20-poly1305",
        *,
        nonce_head: Buffer = bytes(NONCE_HEAD_SIZE),
        associated_data: bytes = b"",
        threads: int = 1,
    ) -> None:
        super().__init__(key, algorithm, nonce_head, associated_data, threads)

    def seal(
        self,
        packets: Iterable[bytes],
        head: bytes,
        counter: int,
        pad: int = 1,
        limit: int = sys.maxsize,
    ) -> list[bytes]:
        if type(head) is not bytes:
            check_kind(head, "head", bytes)
        if not 1 <= pad <= PAD_MAX:
            raise ValueError(f"pad is 1 to {PAD_MAX} bytes, not {pad}")
        batch = _batch(packets)
        if not 0 <= counter <= COUNTER_MAX - max(len(batch) - 1, 0):
            raise OverflowError("a counter has 64 bits")
        encrypt = self._open_cipher().encrypt
        messages = []
        for number, packet in enumerate(batch, counter):
            padding = min(-len(packet) % pad, max(limit - len(packet), 0))
            front = number.to_bytes(COUNTER_SIZE, "little")
            sealed = encrypt(
                self._nonce_head + front, packet + bytes(padding), self._associated_data
            )
            messages.append(head + front + sealed)
        return messages

    def seal_frames(
        self,
        frames: Iterable[bytes],
        head: bytes,
        counter: int,
        pad: int = 1,
        limit: int = sys.maxsize,
    ) -> tuple[list[Train], int]:
        return seal_frames(self, frames, head, counter, pad, limit)


class Opener(_Key):
    """See `_aead.pyi`."""

    def __init__(
        self,
        key: Buffer,
        head_size: int,
        algorithm: Algorithm = "chacha20-poly1305",
        *,
        nonce_head: Buffer = bytes(NONCE_HEAD_SIZE),
        associated_data: bytes = b"",
        threads: int = 1,
    ) -> None:
        check_kind(head_size, "head_size", int)
        if not 0 <= head_size <= PACKET_MAX:
            raise ValueError(f"a head has 0 to {PACKET_MAX} bytes, not {head_size}")
        super().__init__(key, algorithm, nonce_head, associated_data, threads)
        self._head_size = head_size

    def open(self, messages: Iterable[bytes], /) -> tuple[list[bytes], list[int]]:
        start = self._head_size
        front = start + COUNTER_SIZE
        batch = _batch(messages)
        decrypt = self._open_cipher().decrypt
        packets: list[bytes] = []
        counters: list[int] = []
        for message in batch:
            if len(message) < front + TAG_SIZE:
                continue
            counter = message[start:front]
            try:
                packet = decrypt(self._nonce_head + counter, message[front:], self._associated_data)
            except InvalidTag:
                continue
            packets.append(packet)
            counters.append(int.from_bytes(counter, "little"))
        return packets, counters

    def open_frames(
        self,
        trains: Iterable[Train],
        head: bytes,
        window: ReplayWindow,
        tcp: bool = True,
        udp: bool = True,
        udp_zero_checksum: bool = False,
    ) -> Opened:
        if type(head) is not bytes:
            check_kind(head, "head", bytes)
        if len(head) != self._head_size:
            raise ValueError(f"the head has {self._head_size} bytes, not {len(head)}")
        return open_frames(self, trains, head, window, GROTable("tun", tcp, udp, udp_zero_checksum))


def _whole(secret: Buffer) -> bytes:
    with memoryview(secret) as view:
        if not view.c_contiguous:
            raise ValueError(
                "the bytes of a key, and of a nonce's head, have to lie one behind the other"
            )
        return view.tobytes()


def _batch(packets: Iterable[bytes]) -> list[bytes]:
    batch = list(packets)
    for packet in batch:
        if not isinstance(packet, bytes):
            raise TypeError(f"a packet is bytes, not {type(packet).__name__}")
        if len(packet) > PACKET_MAX:
            raise ValueError(f"a packet has at most {PACKET_MAX} bytes, not {len(packet)}")
    return batch
