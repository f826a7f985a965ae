"""What was dropped, by reason."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counters"]


@dataclass
class Counters:
    """Datagrams and packets that an interface dropped; `dataclasses.asdict` gives them by name."""

    # Datagrams.
    malformed: int = 0
    """Datagrams that are no WireGuard message by their type or size."""
    bad_mac1: int = 0
    """A handshake message for another public key, or noise."""
    unproven: int = 0
    """Under load: a handshake message without MAC2; most get a cookie reply."""
    flooded: int = 0
    """Handshake messages beyond the share of their source or peer."""
    bad_handshake: int = 0
    """A handshake message that is not authentic."""
    replayed_handshake: int = 0
    """An initiation that is not newer than one before."""
    unknown_peer: int = 0
    """An initiation from a public key that belongs to no peer."""
    unknown_index: int = 0
    """A message for a session or handshake that does not exist, or no longer does."""
    bad_cookie: int = 0
    """A cookie reply to nothing that was sent."""
    expired: int = 0
    """For a session that is too old."""
    forged: int = 0
    """A transport message that is not authentic."""
    replayed: int = 0
    """A transport message that came before, or is too old to tell whether it did."""

    # Packets from peers.
    bad_packet: int = 0
    """Content from a peer that is not an IP packet."""
    bad_source: int = 0
    """From an address that is not among the peer's allowed IPs."""
    congested: int = 0
    """Marked "congestion experienced" on the way, which the packet cannot tell (RFC 6040)."""

    # Packets from the device.
    no_route: int = 0
    """Not an IP packet, or to an address outside of all allowed IPs."""
    no_endpoint: int = 0
    """To a peer whose endpoint is unknown or cannot be sent to."""
    no_session: int = 0
    """Packets that waited for a session in vain, or were too many to wait."""
    looped: int = 0
    """A datagram of our own to a peer: its route leads into the tunnel."""
