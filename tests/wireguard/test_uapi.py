"""Changes to a running interface, and how the `wg` tool asks for them."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uapi_fakes import ALICE, BOB, FULL, KEY, OK, SECRET, Fake

from aiotun.wireguard.changes import Control, difference, snapshot
from aiotun.wireguard.config import InterfaceConfig, PeerConfig
from aiotun.wireguard.core.noise import Keys
from aiotun.wireguard.keys import encode_key
from aiotun.wireguard.uapi import (
    Status,
    answer,
    decode_get,
    decode_names,
    decode_set,
    encode_get,
)


def refused(number: int) -> str:
    return f"errno={-number}\n\n"


async def asked(fake: Fake, *lines: str) -> str:
    return await answer(Control(fake), "\n".join(lines))


def networks(*texts: str) -> tuple[Any, ...]:
    return tuple(ip_network(text) for text in texts)


async def test_set_and_get() -> None:
    fake = Fake()
    assert await asked(fake, *FULL) == OK
    assert (fake.listen_port, fake.fwmark) == (51999, 51966)
    fake.tunnel.peers[ALICE].last_handshake = 1700000000.25
    fake.tunnel.peers[ALICE].rx_bytes = 5
    fake.tunnel.peers[ALICE].tx_bytes = 148
    assert await asked(fake, "get=1") == (
        f"private_key={KEY.hex()}\nlisten_port=51999\nfwmark=51966\n"
        f"public_key={ALICE.hex()}\npreshared_key={SECRET.hex()}\nprotocol_version=1\n"
        "endpoint=192.0.2.1:51820\n"
        "last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=250000000\n"
        "tx_bytes=148\nrx_bytes=5\npersistent_keepalive_interval=25\n"
        "allowed_ip=10.0.0.1/32\nallowed_ip=fd00::/64\n"
        f"public_key={BOB.hex()}\npreshared_key={bytes(32).hex()}\nprotocol_version=1\n"
        "endpoint=[2001:db8::1]:7\n"
        "last_handshake_time_sec=0\nlast_handshake_time_nsec=0\n"
        "tx_bytes=0\nrx_bytes=0\npersistent_keepalive_interval=0\n"
        "allowed_ip=10.1.0.0/16\n" + OK
    )


async def test_what_is_not_mentioned_stays() -> None:
    fake = Fake()
    await asked(fake, *FULL)
    fake.calls.clear()
    await asked(fake, "set=1", f"public_key={ALICE.hex()}", "allowed_ip=10.0.0.2/32")
    assert fake.calls == [
        (
            "set_peer",
            PeerConfig(
                ALICE,
                preshared_key=SECRET,
                allowed_ips=networks("10.0.0.1/32", "fd00::/64", "10.0.0.2/32"),
                persistent_keepalive=25,
            ),
        )
    ]
    assert fake.tunnel.peers[ALICE].endpoint == ("192.0.2.1", 51820)


async def test_what_is_so_already_is_not_done_again() -> None:
    fake = Fake()
    await asked(fake, *FULL)
    fake.calls.clear()
    await asked(fake, *FULL[:4])
    assert fake.calls == []


async def test_allowed_ips_move_and_go() -> None:
    fake = Fake()
    await asked(fake, *FULL)
    await asked(fake, "set=1", f"public_key={BOB.hex()}", "allowed_ip=10.0.0.1/32")
    assert fake.tunnel.peers[ALICE].allowed_ips == networks("fd00::/64")
    assert set(fake.tunnel.peers[BOB].allowed_ips) == {*networks("10.1.0.0/16", "10.0.0.1/32")}
    await asked(fake, "set=1", f"public_key={BOB.hex()}", "allowed_ip=-10.1.0.0/16")
    assert fake.tunnel.peers[BOB].allowed_ips == networks("10.0.0.1/32")
    await asked(fake, "set=1", f"public_key={BOB.hex()}", "replace_allowed_ips=true")
    assert fake.tunnel.peers[BOB].allowed_ips == ()


async def test_networks_are_replaced_where_it_stands() -> None:
    """As wireguard-go does it: what came before in the request goes too."""
    fake = Fake()
    lines = ("allowed_ip=10.0.0.1/32", "replace_allowed_ips=true", "allowed_ip=10.0.0.2/32")
    assert await asked(fake, "set=1", f"public_key={ALICE.hex()}", *lines) == OK
    assert fake.tunnel.peers[ALICE].allowed_ips == networks("10.0.0.2/32")
    lines = ("allowed_ip=10.0.0.3/32", "replace_allowed_ips=true", "")
    assert await asked(fake, "set=1", f"public_key={ALICE.hex()}", *lines) == OK
    assert fake.tunnel.peers[ALICE].allowed_ips == ()


@pytest.mark.parametrize(
    "endpoint", ["192.0.2.1:0", "[2001:db8::1]:0", "[fe80::1%lo]:7", "[fe80::1%1]:7"]
)
async def test_endpoints_that_wireguard_go_takes(endpoint: str) -> None:
    fake = Fake()
    assert await asked(fake, "set=1", f"public_key={ALICE.hex()}", f"endpoint={endpoint}") == OK
    assert f"\nendpoint={endpoint}\n" in await asked(fake, "get=1")


async def test_the_zone_of_an_endpoint_is_told() -> None:
    fake = Fake()
    await asked(fake, "set=1", f"public_key={ALICE.hex()}")
    zone = 1 if sys.platform == "win32" else socket.if_indextoname(1)
    fake.tunnel.peers[ALICE].set_endpoint(("fe80::1", 7, 0, 1))  # as a socket has it
    assert f"\nendpoint=[fe80::1%{zone}]:7\n" in await asked(fake, "get=1")
    (peer,) = snapshot(fake, InterfaceConfig(KEY)).peers
    assert peer.endpoint == (f"fe80::1%{zone}", 7)


async def test_peers_go() -> None:
    fake = Fake()
    await asked(fake, *FULL)
    for _ in range(2):
        assert await asked(fake, "set=1", f"public_key={BOB.hex()}", "remove=true") == OK
        assert list(fake.tunnel.peers) == [ALICE]
    assert await asked(fake, "set=1", "replace_peers=true") == OK
    assert not fake.tunnel.peers


async def test_update_only() -> None:
    fake = Fake()
    lines = ("update_only=true", "persistent_keepalive_interval=3")
    assert await asked(fake, "set=1", f"public_key={ALICE.hex()}", *lines) == OK
    assert not fake.tunnel.peers
    await asked(fake, "set=1", f"public_key={ALICE.hex()}")
    assert await asked(fake, "set=1", f"public_key={ALICE.hex()}", *lines) == OK
    assert fake.tunnel.peers[ALICE].persistent_keepalive == 3


async def test_the_interface_is_no_peer_of_its_own() -> None:
    fake = Fake()
    own = fake.tunnel.public_key.hex()
    assert await asked(fake, "set=1", f"public_key={own}", "allowed_ip=10.0.0.0/8") == OK
    assert not fake.tunnel.peers


async def test_the_key_taken_away() -> None:
    fake = Fake()
    assert await asked(fake, "set=1", f"private_key={bytes(32).hex()}") == OK
    assert "private_key" not in await asked(fake, "get=1")


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "listen_port=65536",
        "listen_port=-1",
        "listen_port=٣",
        "fwmark=0x10",
        "private_key=ab",
        "private_key=" + "zz" * 32,
        "replace_peers=false",
        "endpoint=1.2.3.4:5",  # of no peer
        "public_key=" + "0" * 65,
    ],
)
async def test_a_malformed_line_of_the_interface(line: str) -> None:
    fake = Fake()
    assert await asked(fake, "set=1", "listen_port=1", line) == refused(errno.EINVAL)
    assert fake.calls == []


@pytest.mark.parametrize(
    "line",
    [
        "endpoint=example.com:5",
        "endpoint=::1:5",
        "endpoint=[192.0.2.1]:5",
        "endpoint=192.0.2.1:domain",
        "allowed_ip=10.0.0.1/0.0.0.0",
        "allowed_ip=10.0.0.0/0.255.255.255",
        "allowed_ip=fe80::1%lo/128",
        "endpoint=1.2.3.4:65536",
        "allowed_ip=10.0.0.0/33",
        "allowed_ip=--10.0.0.0/8",
        "allowed_ip=",
        "persistent_keepalive_interval=65536",
        "protocol_version=2",
        "remove=1",
        "update_only=",
        "replace_allowed_ips=yes",
        "preshared_key=",
        "listen_port=5",  # of no interface
        "private_key",
        "rx_bytes=5",
    ],
)
async def test_a_malformed_line_of_a_peer(line: str) -> None:
    fake = Fake()
    request = ("set=1", f"public_key={ALICE.hex()}", line)
    assert await asked(fake, *request) == refused(errno.EINVAL)
    assert fake.calls == []  # all or nothing


async def test_what_the_system_refuses() -> None:
    fake = Fake()
    assert await asked(fake, "set=1", "listen_port=80", "fwmark=1") == refused(errno.EACCES)
    assert fake.fwmark == 0


@pytest.mark.parametrize("operation", ["", "get=2", "set=", "get", "\0"])
async def test_no_operation(operation: str) -> None:
    assert await asked(Fake(), operation) == refused(errno.EINVAL)


SECRETS = (KEY.hex(), KEY.hex()[:40], encode_key(bytes(range(32))))


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "line",
    ["{}", "set={}", "set=1{}", "set=1\n{}", "set=1\n{}=1", "set=1\nprivate_key{}"]
    + [f"set=1\n{key}=x{{}}" for key in ("private_key", "listen_port", "replace_peers")]
    + [
        f"set=1\npublic_key={ALICE.hex()}\n{key}={{}}"
        for key in ("allowed_ip", "endpoint", "remove", "preshared_key ", "protocol_version")
    ]
    + [f"set=1\npublic_key={ALICE.hex()}\nendpoint={{}}:1"],
)
async def test_no_message_shows_a_key(
    line: str, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await asked(Fake(), line.format(secret)) == refused(errno.EINVAL)
    assert len(caplog.records) == 1
    assert secret[:30] not in caplog.text


@pytest.mark.parametrize(
    "line",
    ["private_key={}x", "listen_port={}", "public_key={}x"]
    + [f"public_key={ALICE.hex()}\n{key}={{}}" for key in ("allowed_ip", "rx_bytes")]
    + [f"public_key={ALICE.hex()}\nlast_handshake_time_{unit}={{}}" for unit in ("sec", "nsec")],
)
def test_an_answer_that_cannot_be(line: str) -> None:
    key = line.split("\n")[-1].split("=")[0]
    with pytest.raises(ValueError, match=f"'{key}' has a value that cannot be") as caught:
        decode_get(line.format(f"k{KEY.hex()}"))
    assert KEY.hex() not in str(caught.value)


def test_no_repr_shows_a_key() -> None:
    changes = decode_set(
        f"private_key={KEY.hex()}\npublic_key={ALICE.hex()}\npreshared_key={SECRET.hex()}\n"
    )
    keys = Keys(KEY, SECRET)
    for shown in (repr(changes), repr(changes.peers), repr(keys), repr(Status(KEY))):
        for key in (KEY, SECRET):
            assert repr(key) not in shown
            assert key.hex() not in shown


@given(st.lists(st.sampled_from([line + end for line in FULL for end in ("", "x")]) | st.text()))
def test_any_request_has_an_answer_and_a_refused_one_does_nothing(lines: list[str]) -> None:
    fake = Fake()
    answered = asyncio.run(asked(fake, *lines))
    assert answered.endswith(OK) or fake.calls == []


async def test_the_status_is_read_as_it_is() -> None:
    fake = Fake()
    await asked(fake, *FULL)
    fake.tunnel.peers[ALICE].last_handshake = 1700000000.25
    fake.tunnel.peers[ALICE].tx_bytes = 2**40
    status = decode_get(encode_get(fake) + "from_the_future=1\n")
    assert (status.private_key, status.listen_port) == (KEY, 51999)
    alice, bob = status.peers
    assert (alice.endpoint, bob.endpoint) == ("192.0.2.1:51820", "[2001:db8::1]:7")
    assert alice.last_handshake == pytest.approx(1700000000.25)
    assert (alice.tx_bytes, bob.tx_bytes) == (2**40, 0)
    assert tuple(bob.allowed_ips) == networks("10.1.0.0/16")


# A file that changed.

A = PeerConfig(ALICE, endpoint=("192.0.2.1", 1), allowed_ips=networks("10.0.0.1/32"))
B = PeerConfig(BOB, preshared_key=SECRET, allowed_ips=networks("10.0.0.2/32", "10.2.0.0/16"))
BEFORE = InterfaceConfig(KEY, listen_port=51820, peers=(A, B))


async def changed(old: InterfaceConfig, new: InterfaceConfig) -> Fake:
    """What is done to an interface that is as in `old`, but that Alice roams."""
    fake = Fake()
    control = Control(fake)
    await control.apply(difference(InterfaceConfig(KEY, listen_port=51820), old))
    fake.tunnel.peers[ALICE].set_endpoint(("198.51.100.7", 9))
    fake.calls.clear()
    await control.apply(difference(old, new))
    return fake


@pytest.mark.parametrize(
    ("new", "calls"),
    [
        (BEFORE, []),
        (replace(BEFORE, peers=(B, A), dns=("1.1.1.1",)), []),
        (replace(BEFORE, listen_port=7), [("set_listen_port", 7)]),
        (replace(BEFORE, fwmark=7), [("set_fwmark", 7)]),
        (replace(BEFORE, private_key=SECRET), [("set_private_key", SECRET)]),
        (replace(BEFORE, peers=(A,)), [("remove_peer", BOB)]),
        (
            replace(BEFORE, peers=(replace(A, persistent_keepalive=5), B)),
            [("set_peer", replace(A, persistent_keepalive=5, endpoint=None))],
        ),
        (
            replace(BEFORE, peers=(replace(A, endpoint=("192.0.2.2", 1)), B)),
            [("set_peer", replace(A, endpoint=("192.0.2.2", 1)))],
        ),
        (
            replace(BEFORE, peers=(A, replace(B, preshared_key=bytes(32), allowed_ips=()))),
            [("set_peer", PeerConfig(BOB))],
        ),
    ],
    ids=["nothing", "order", "port", "mark", "key", "removed", "keepalive", "endpoint", "emptied"],
)
async def test_only_what_differs_is_done(
    new: InterfaceConfig, calls: list[tuple[Any, ...]]
) -> None:
    fake = await changed(BEFORE, new)
    assert fake.calls == calls


async def test_networks_change_hands() -> None:
    swapped = replace(
        BEFORE,
        peers=(replace(A, allowed_ips=B.allowed_ips), replace(B, allowed_ips=A.allowed_ips)),
    )
    fake = await changed(BEFORE, swapped)
    assert fake.tunnel.peers[ALICE].allowed_ips == B.allowed_ips
    assert fake.tunnel.peers[BOB].allowed_ips == A.allowed_ips


async def test_a_snapshot_is_the_configuration_as_it_is_now() -> None:
    fake = await changed(BEFORE, BEFORE)
    now = snapshot(fake, replace(BEFORE, mtu=1300))
    roamed = replace(A, endpoint=("198.51.100.7", 9))
    assert now == replace(BEFORE, mtu=1300, peers=(roamed, B))
    assert difference(BEFORE, now).peers[0].endpoint == ("198.51.100.7", 9)


async def test_the_endpoint_of_a_peer_whose_name_was_not_found_is_kept() -> None:
    fake = Fake()
    await asked(fake, "set=1", f"public_key={ALICE.hex()}", f"public_key={BOB.hex()}")
    known = replace(BEFORE, peers=(replace(A, endpoint=("vpn.example", 7)), B))
    assert [peer.endpoint for peer in snapshot(fake, known).peers] == [("vpn.example", 7), None]


@pytest.mark.parametrize(
    "line", ["00", "00=", f"{ALICE.hex()}=x", f"{ALICE.hex()}={'[' * 100_000}"]
)
def test_names_that_are_none(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (each says something else)
        decode_names(line)
