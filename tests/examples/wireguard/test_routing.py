"""Allowed IPs, against a search through all of them."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from examples.wireguard import routing
from examples.wireguard.routing import AllowedIPs, Network


def table(**networks: list[str]) -> AllowedIPs[str]:
    allowed: AllowedIPs[str] = AllowedIPs()
    for owner, each in networks.items():
        allowed.set(owner, [ip_network(network) for network in each])
    return allowed


def find(allowed: AllowedIPs[str], address: str) -> str | None:
    return allowed.find(ip_address(address).packed)


def test_the_longest_prefix_decides() -> None:
    allowed = table(a=["0.0.0.0/0", "10.1.0.0/16"], b=["10.0.0.0/8", "10.1.2.3/32"], c=["::/0"])
    assert find(allowed, "9.9.9.9") == "a"
    assert find(allowed, "10.9.9.9") == "b"
    assert find(allowed, "10.1.9.9") == "a"
    assert find(allowed, "10.1.2.3") == "b"
    assert find(allowed, "::10.1.2.3") == "c"


def test_nobody() -> None:
    allowed = table(a=["10.0.0.0/8"])
    assert find(allowed, "11.0.0.0") is None
    assert find(allowed, "a00::") is None
    assert allowed.find(b"") is None
    assert allowed.find(b"\x0a") is None


def test_who_comes_last_has_it() -> None:
    allowed = table(a=["10.0.0.0/8", "fd00::/8"])
    assert find(allowed, "10.0.0.1") == "a"
    allowed.set("b", [ip_network("10.0.0.0/8")])
    assert find(allowed, "10.0.0.1") == "b"
    assert allowed.of("a") == (ip_network("fd00::/8"),)
    allowed.set("b", [])
    assert find(allowed, "10.0.0.1") is None


def test_what_is_remembered_is_bounded() -> None:
    allowed = table(a=["0.0.0.0/0"])
    for number in range(2 * routing.CACHE_MAX):
        assert allowed.find(number.to_bytes(4, "big")) == "a"
    assert len(allowed._cache) <= routing.CACHE_MAX


networks = st.builds(
    lambda number, length: ip_network((number << 24 | number, length), strict=False),
    st.integers(8, 11),
    st.integers(0, 32),
)


@given(st.dictionaries(networks, st.sampled_from("abc"), max_size=20), st.integers(8, 11))
def test_like_a_search(owners: dict[IPv4Network, str], number: int) -> None:
    allowed: AllowedIPs[str] = AllowedIPs()
    for owner in "abc":
        allowed.set(owner, [network for network, each in owners.items() if each == owner])
    address = ip_address(number << 24 | number)
    candidates: list[Network] = [network for network in owners if address in network]
    best = max(candidates, key=lambda network: network.prefixlen, default=None)
    assert allowed.find(address.packed) == (owners[best] if best else None)  # type: ignore[index]
