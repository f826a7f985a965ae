"""In C, by OpenSSL's EVP: the classes of `aiotun.aead`, and of `wireguard.core.states`."""

import sys
from collections.abc import Iterable

from cryptography.utils import Buffer

from ..aead.algorithms import Algorithm
from ..aead.frames import Opened
from ..trains import Train
from ..wireguard.core.states import Crossing as Crossing
from ..wireguard.core.states import InterfaceState as InterfaceState
from ..wireguard.core.states import PeerState as PeerState
from ..wireguard.core.states import SessionState as SessionState

if sys.platform == "linux":
    def boot_time() -> float:
        """`time.clock_gettime(time.CLOCK_BOOTTIME)`."""

class Sealer:
    """Seals packets with one key, which it keeps until it is closed or gone."""

    def __init__(
        self,
        key: Buffer,
        algorithm: Algorithm = "chacha20-poly1305",
        *,
        nonce_head: Buffer = bytes(4),
        associated_data: bytes = b"",
        threads: int = 1,
    ) -> None:
        """`key` has 32 bytes, `nonce_head` four: they begin each nonce. Both are copied.

        `associated_data` is authenticated with each packet, and not sent. As many as
        `threads` share a batch of 64 KiB or more (natively, where the system has
        POSIX threads); the messages keep their order. Raises `ValueError`.
        """

    def seal(
        self,
        packets: Iterable[bytes],
        head: bytes,
        counter: int,
        pad: int = 1,
        limit: int = sys.maxsize,
    ) -> list[bytes]:
        """A message for each packet: head, counter, the packet encrypted, tag.

        The first has this counter, and each next one the next. Packets are padded
        with zeros to a multiple of `pad` bytes, as far as `limit` bytes allow.

        **No counter may be used twice with one key**: that gives both packets away.
        Raises `OverflowError` for a counter beyond 64 bits, `TypeError` for a packet
        that is not bytes, and `ValueError` for one of more than 16 MiB, for a `pad`
        beyond 1 to 65536, and when the key was closed.
        """

    def seal_frames(
        self,
        frames: Iterable[bytes],
        head: bytes,
        counter: int,
        pad: int = 1,
        limit: int = sys.maxsize,
    ) -> tuple[list[Train], int]:
        """The packets of a TUN's frames (`gso_split`), sealed as `seal` does and put together.

        Returns trains of messages, as long as a UDP socket takes them, and how many
        messages there are. Raises `OffloadError` for a malformed frame, and else what
        `seal` does; then no counter was used.
        """

    def close(self) -> None:
        """Wipe the key: natively, its copies are overwritten; else they are let go.

        A batch that another thread has begun goes on, and the key is wiped behind it.
        What OpenSSL left on the stack of a thread stays there until it is overwritten.
        A child process keeps what other threads were using of a key when it was forked.
        """

class Opener:
    """Opens the messages of one key, as `Sealer` seals them."""

    def __init__(
        self,
        key: Buffer,
        head_size: int,
        algorithm: Algorithm = "chacha20-poly1305",
        *,
        nonce_head: Buffer = bytes(4),
        associated_data: bytes = b"",
        threads: int = 1,
    ) -> None:
        """As `Sealer`; messages begin with `head_size` bytes, which are not looked at."""

    def open(self, messages: Iterable[bytes], /) -> tuple[list[bytes], list[int]]:
        """The packets of the messages that are authentic, padding and all, and their counters.

        Messages that are forged, or too short to be any, are left out: the others
        follow each other as they came. Whether a counter came before is for a
        `ReplayWindow` to say. Raises `TypeError` for a message that is not bytes, and
        `ValueError` for one of more than 16 MiB, and when the key was closed.
        """

    def open_frames(
        self,
        trains: Iterable[Train],
        head: bytes,
        window: ReplayWindow,
        tcp: bool = True,
        udp: bool = True,
        udp_zero_checksum: bool = False,
    ) -> Opened:
        """The IP packets of the messages with this head, as frames for a TUN.

        All are opened, then those left out whose counters the window does not accept.
        What is behind a packet's own length is padding. `tcp`, `udp` and
        `udp_zero_checksum`: what is coalesced (`GROTable`). Natively, the result is a plain
        tuple. Raises `ValueError` for a head of another size, and else what `open` does.
        """

    def close(self) -> None:
        """As `Sealer.close`."""

class ReplayWindow:
    """What `aead.replay.ReplayWindow` is."""

    def __init__(self, limit: int) -> None:
        """Counters from `limit` on are never accepted.

        Raises `OverflowError` for one beyond 64 bits, here and in `accept`.
        """

    def accept(self, counter: int, /) -> bool:
        """Whether an authentic datagram's counter is new; it is not afterwards."""
