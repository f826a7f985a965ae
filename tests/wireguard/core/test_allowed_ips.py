"""Allowed IPs, against a search through all of them."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotun.wireguard.core import allowed_ips as routing
from aiotun.wireguard.core.allowed_ips import AllowedIPs, Network


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


def test_prefixes_that_are_gone_are_not_searched() -> None:
    allowed = table(a=["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"])
    allowed.set("a", [ip_network("10.1.0.0/16")])
    assert {size: len(masks) for size, masks in allowed._tables.items()} == {4: 1, 16: 0}


def test_what_is_remembered_is_bounded() -> None:
    allowed = table(a=["0.0.0.0/0"])
    for number in range(2 * routing.CACHE_MAX):
        assert allowed.find(number.to_bytes(4, "big")) == "a"
    assert len(allowed.owners) <= routing.CACHE_MAX


class Unseen(IPv4Network):
    """A network that is not to be looked at any more."""

    hidden = False

    def __getattribute__(self, name: str) -> object:
        assert not Unseen.hidden, f"{name} is asked for"
        return super().__getattribute__(name)

    def __hash__(self) -> int:
        assert not Unseen.hidden
        return super().__hash__()


def test_a_change_looks_at_no_other_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cost does not depend on how many peers there are."""
    allowed: AllowedIPs[str] = AllowedIPs()
    for number in range(5):
        allowed.set(f"{number}", [Unseen(f"10.{number}.0.0/16"), Unseen(f"10.9.{number}.0/24")])
    monkeypatch.setattr(Unseen, "hidden", True)
    allowed.set("new", [ip_network("10.7.0.0/16"), ip_network("10.1.2.0/24")])
    allowed.set("new", [ip_network("10.8.0.0/15"), ip_network("10.1.2.0/24")])
    owners = [
        find(allowed, address) for address in ("10.0.0.1", "10.9.1.1", "10.9.9.9", "10.1.2.1")
    ]
    assert owners == ["0", "1", "new", "new"]
    allowed.set("new", [])
    assert find(allowed, "10.1.2.1") == "1"


def test_what_is_so_already_changes_nothing() -> None:
    allowed = table(a=["10.0.0.0/8", "fd00::/8"])
    allowed.find(b"\x0a\0\0\1")
    known = dict(allowed.owners)
    allowed.set("a", [ip_network("fd00::/8"), ip_network("10.0.0.0/8")])
    allowed.set("b", [])
    assert known == allowed.owners == {b"\x0a\0\0\1": "a"}
    allowed.set("b", [ip_network("10.0.0.0/8")])
    assert not allowed.owners


networks = st.builds(
    lambda number, length: ip_network((number << 24 | number, length), strict=False),
    st.integers(8, 11),
    st.integers(0, 32),
) | st.builds(
    lambda number, length: ip_network((number << 120 | number, length), strict=False),
    st.integers(8, 11),
    st.integers(0, 128),
)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.lists(networks, max_size=6)), max_size=12),
)
def test_like_a_search(changes: list[tuple[str, list[Network]]]) -> None:
    allowed: AllowedIPs[str] = AllowedIPs()
    owners: dict[Network, str] = {}
    for owner, each in changes:
        allowed.set(owner, each)
        owners = {network: other for network, other in owners.items() if other != owner}
        owners.update(dict.fromkeys(each, owner))
        for name in "abc":
            assert set(allowed.of(name)) == {net for net, other in owners.items() if other == name}
        for number in range(8, 12):
            for address in (ip_address(number << 24 | number), ip_address(number << 120 | number)):
                candidates = [network for network in owners if address in network]
                best = max(candidates, key=lambda network: network.prefixlen, default=None)
                assert allowed.find(address.packed) == (owners[best] if best else None)
