"""Batches of packets sealed and opened in one call: what a VPN does to all its traffic.

A message is a head (what the protocol puts in front, as its type and a session's
index), a counter of 64 bits, little endian, the encrypted packet, and a tag of 16
bytes. The nonce is four bytes that stay and the counter (WireGuard's paper, section
5.4.6; RFC 8439, section 2.8; NIST SP 800-38D, section 8.2.1).

`Sealer`, `Opener` and `ReplayWindow` are native where the package was built with OpenSSL's headers,
and made of the package `cryptography` elsewhere; `implementation` says which, and
AIOTUN_PURE=1 asks for the latter, as does a GIL that is kept off. The native ones release the GIL
while they work. Both may be used from several threads.

`seal_frames` and `open_frames` do all that is between a device and a UDP socket, in one
call: super-packets are split, sealed and put together as trains for UDP_SEGMENT, and
trains as UDP_GRO gives them are opened, checked for replays, and coalesced.
"""

from __future__ import annotations

from typing import Literal

from ..native.sources import check
from ..native.wanted import check_wanted
from .algorithms import Algorithm

__all__ = ["Algorithm", "Opener", "ReplayWindow", "Sealer", "implementation"]

implementation: Literal["native", "python"]
"""Which of the two `Sealer`, `Opener` and `ReplayWindow` are."""

try:
    check_wanted()
    from ..native import _aead
    from ..native._aead import Opener, ReplayWindow, Sealer
except ImportError:
    from .python import Opener, Sealer  # type: ignore[assignment]
    from .replay import ReplayWindow  # type: ignore[assignment]

    implementation = "python"
else:
    check(_aead, "aead.c")
    implementation = "native"
