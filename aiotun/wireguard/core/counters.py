"""What was dropped, by reason."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counters"]


@dataclass
class Counters:
    """Datagrams and packets that an interface dropped; `dataclasses.asdict` gives them by name."""

    # Datagrams.
    malformed: int = 0
    """No message of WireGuard: its type or its size."""
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
    """For a session or a handshake that there is not, or not any more."""
    bad_cookie: int = 0
    """A cookie reply to nothing that was sent."""
    expired: int = 0
    """For a session that is too old."""
    forged: int = 0
    """A transport message that is not authentic."""
    replayed: int = 0
    """A transport message that came before, or is too old to know."""

    # Packets from peers.
    bad_packet: int = 0
    """What a peer sent is no IP packet."""
    bad_source: int = 0
    """From an address that is not among the peer's allowed IPs."""
    congested: int = 0
    """Marked "congestion experienced" on the way, which the packet cannot tell (RFC 6040)."""

    # Packets from the device.
    no_route: int = 0
    """No IP packet, or to an address among no peer's allowed IPs."""
    no_endpoint: int = 0
    """For a peer of which nobody knows where it is, or that is where nothing can be sent."""
    no_session: int = 0
    """Waited for a session in vain, or too many did."""
    looped: int = 0
    """A datagram of our own to a peer: its route leads into the tunnel."""
