"""Peers in NATS: a real server, which also dies, forgets and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import json
import os
import pickle
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats_servers import NatsServer, cluster, nats_server, url
from rigs import until

from aiotun.wireguard.cli.peer import add_peer, find_peer, set_enabled
from aiotun.wireguard.config import PeerConfig
from aiotun.wireguard.keys import encode_key
from aiotun.wireguard.server import Server
from aiotun.wireguard.stores import bucket as bucket_module
from aiotun.wireguard.stores import nats as nats_module
from aiotun.wireguard.stores.base import Change, Peers
from aiotun.wireguard.stores.file import ConfigFile
from aiotun.wireguard.stores.nats import (
    NatsStore,
    connected,
    decode_peer,
    encode_peer,
    parse_address,
)
from aiotun.wireguard.stores.urls import open_store
from aiotun.wireguard.values import parse_name

__all__ = ["nats_server", "url"]

ALICE, BOB, CAROL = (bytes([n]) * 32 for n in (1, 2, 3))
A = PeerConfig(ALICE, name="alice", allowed_ips=(ip_network("10.0.0.1/32"),))
B = PeerConfig(BOB, preshared_key=CAROL, endpoint=("vpn.example", 1), name="bob")
C = PeerConfig(CAROL, persistent_keepalive=25, enabled=False)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_module, "INTERVAL", 0.05)
    monkeypatch.setattr(bucket_module, "RETRY", 0.05)


@pytest.fixture
async def store(url: str) -> AsyncIterator[NatsStore]:
    async with NatsStore.open(url) as store:
        yield store


@contextlib.asynccontextmanager
async def followed(store: NatsStore) -> AsyncIterator[dict[bytes, PeerConfig]]:
    """The peers, as a server that watches the store has them."""
    peers, revision = await store.peers()

    async def follow() -> None:
        async with contextlib.aclosing(store.watch(revision)) as found:
            async for changes in found:
                for key, peer in changes:
                    if peer is None:
                        peers.pop(key)
                    else:
                        peers[key] = peer

    task = asyncio.ensure_future(follow())
    try:
        yield peers
    finally:
        assert not task.done(), task.result()
        task.cancel()
        await asyncio.wait([task])


async def test_two_servers_share_peers(store: NatsStore, url: str) -> None:
    async with NatsStore.open(url) as other, followed(other) as seen:
        for peer in (A, B, C):
            await store.put(peer)
        expected = {ALICE: A, BOB: B, CAROL: C}
        assert (await other.peers())[0] == expected
        await until(lambda: seen == expected)
        changed = dataclasses.replace(A, persistent_keepalive=5)
        await store.put(changed)
        await store.remove(BOB)
        await until(lambda: seen == {ALICE: changed, CAROL: C})
        await other.put(B)
        assert (await store.peers())[0] == {ALICE: changed, CAROL: C, BOB: B}
        with pytest.raises(KeyError):
            await store.remove(bytes(32))


async def test_what_changed_before_one_watches_is_told(store: NatsStore) -> None:
    await store.put(A)
    _, revision = await store.peers()
    await store.put(C)
    await store.remove(ALICE)
    await store.peers()  # by somebody else
    async with contextlib.aclosing(store.watch(revision)) as found:
        changes = await asyncio.wait_for(anext(found), 20)
    assert set(changes) == {Change(CAROL, C), Change(ALICE, None)}


async def test_a_hundred_clients_get_a_hundred_addresses(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each over a connection of its own."""

    async def add(number: int) -> PeerConfig:
        async with NatsStore.open(url) as store:
            return await add_peer(store, PeerConfig(bytes([number]) * 32), ["10.9.0.1/24"])

    monkeypatch.setattr(bucket_module, "PATIENCE", 50.0)
    added = await asyncio.gather(*map(add, range(1, 101)))
    addresses = {network for peer in added for network in peer.allowed_ips}
    assert len(addresses) == 100
    assert ip_network("10.9.0.1/32") not in addresses
    async with NatsStore.open(url) as store:
        peers, _ = await store.peers()
        assert {peer.public_key: peer for peer in added} == peers


async def test_a_network_belongs_to_one_peer(store: NatsStore) -> None:
    await store.put(A)
    thief = PeerConfig(BOB, allowed_ips=(ip_network("10.1.0.0/16"), *A.allowed_ips))
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/32 belongs to alice \(AQEB"):
        await store.put(thief)
    assert (await store.peers())[0] == {ALICE: A}
    part = PeerConfig(BOB, allowed_ips=(ip_network("10.0.0.0/8"),))
    await store.put(part)  # the longest prefix rules


async def test_a_pool_that_is_empty(store: NatsStore) -> None:
    await add_peer(store, PeerConfig(ALICE), ["10.9.0.1/30"])
    with pytest.raises(ValueError, match=r"all addresses of 10\.9\.0\.0/30 are taken"):
        await add_peer(store, PeerConfig(BOB), ["10.9.0.1/30"])


async def test_names(store: NatsStore) -> None:
    await add_peer(store, A, [])
    for again in (A, PeerConfig(BOB, name="alice")):
        with pytest.raises(ValueError, match="there is a peer"):
            await add_peer(store, again, [])
    for bad in ("a\n[Peer]", " a", "a" * 65, "\x1b[31m"):
        with pytest.raises(ValueError, match="a name is"):
            await store.put(PeerConfig(CAROL, name=bad))
    await set_enabled(store, "alice", enabled=False)
    peers, _ = await store.peers()
    assert peers == {ALICE: dataclasses.replace(A, enabled=False)}
    assert find_peer(peers, "alice") == find_peer(peers, encode_key(ALICE)) == ALICE
    with pytest.raises(ValueError, match="no peers are called 'bob'"):
        find_peer(peers, "bob")


# Nothing is missed.


async def test_changes_while_the_server_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others change as soon as they can is known before a watcher would hear of it."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    try:
        server.wait()
        url = f"nats://{server.address}/peers"
        async with NatsStore.open(url) as store, followed(store) as seen:
            for peer in (A, B):
                await store.put(peer)
            await until(lambda: len(seen) == 2)
            server.kill()
            await until(lambda: not store.reachable)
            monkeypatch.setattr(bucket_module, "PATIENCE", 0.2)
            with pytest.raises(OSError, match="the store cannot be reached"):
                await store.peers()
            assert len(seen) == 2
            monkeypatch.setattr(bucket_module, "PATIENCE", 10.0)
            server.start()
            await asyncio.to_thread(server.wait)
            async with NatsStore.open(url) as other:
                await other.remove(ALICE)
                await until(lambda: seen == {BOB: B}, timeout=8)
            assert store.reachable
    finally:
        server.kill()


async def test_a_key_that_expires(store: NatsStore) -> None:
    async with followed(store) as seen:
        key = f"peer.{ALICE.hex()}"
        await store._bucket.write(key, encode_peer(A), ttl=4)
        await until(lambda: seen == {ALICE: A})
        await until(lambda: seen == {})


async def test_a_key_that_goes_without_a_mark(store: NatsStore, url: str) -> None:
    """As when an administrator purges the stream."""
    for peer in (A, B, C):
        await store.put(peer)
    address = parse_address(url)
    async with followed(store) as seen, connected(address) as client:
        js = client.jetstream()
        await js.purge_stream(f"KV_{address.bucket}", subject=f"$KV.*.peer.{BOB.hex()}")
        await until(lambda: seen == {ALICE: A, CAROL: C})
        await js.purge_stream(f"KV_{address.bucket}")
        await until(lambda: seen == {})
        await store.put(B)
        await until(lambda: seen == {BOB: B})


@pytest.mark.parametrize("more", [0, 40])
async def test_a_bucket_that_is_made_anew(store: NatsStore, url: str, more: int) -> None:
    """Whether its revisions are below or above those before."""
    for peer in (A, B, C):
        await store.put(peer)
    address = parse_address(url)
    async with followed(store) as seen, connected(address) as client:
        await client.jetstream().delete_key_value(address.bucket)
        async with NatsStore.open(url) as other:
            for number in range(more):
                await other.put(dataclasses.replace(B, persistent_keepalive=number))
            await other.put(A)
        await until(lambda: ALICE in seen and CAROL not in seen)
        assert (BOB in seen) == (more > 0)


async def test_many_peers(store: NatsStore, url: str) -> None:
    """More than one batch, and some again meanwhile."""
    many = [PeerConfig(n.to_bytes(32, "big")) for n in range(2500)]
    for start in range(0, 2500, 500):
        await asyncio.gather(
            *(
                store._bucket.write(f"peer.{peer.public_key.hex()}", encode_peer(peer))
                for peer in many[start : start + 500]
            )
        )
    async with NatsStore.open(url) as other:
        peers, _ = await other.peers()
    assert list(peers.values()) == many


async def test_what_is_no_peer_is_left_out(
    store: NatsStore, caplog: pytest.LogCaptureFixture
) -> None:
    await store.put(A)
    secret = encode_key(CAROL)
    for number, content in enumerate((b"{", b"[]", b'{"allowed_ips": "10.0.0.0/8"}')):
        await store._bucket.write(f"peer.{bytes([9 + number] * 32).hex()}", content)
    await store._bucket.write(f"peer.{BOB.hex()}", json.dumps({"preshared_key": [secret]}).encode())
    await store._bucket.write("other", b"?")
    assert (await store.peers())[0] == {ALICE: A}
    assert caplog.text.count("is no peer") == 4
    await store.peers()
    assert caplog.text.count("is no peer") == 4
    assert secret not in caplog.text


async def test_what_a_newer_version_has_written(
    store: NatsStore, caplog: pytest.LogCaptureFixture
) -> None:
    """What is known of it holds; what is not stays when the peer is changed here."""
    key = f"peer.{ALICE.hex()}"
    newer = {"until": [1, {"a": 2}]}
    written = json.dumps(json.loads(encode_peer(A)) | newer).encode()
    await store._bucket.write(key, written)
    assert (await store.peers())[0] == {ALICE: A}
    await set_enabled(store, "alice", enabled=False)
    assert (await store.peers())[0] == {ALICE: dataclasses.replace(A, enabled=False)}
    assert caplog.text.count("'until', which is not known here") == 1
    found = json.loads(store._known.entries[key].value or b"")
    assert found == json.loads(written) | {"enabled": False}
    await store.remove(ALICE)
    await store.put(A)
    assert store._known.entries[key].value is None
    await store.peers()
    assert store._known.entries[key].value == encode_peer(A)


# Where there is no store.


async def test_nobody_is_there(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_module, "CONNECT_TIMEOUT", 0.3)
    with pytest.raises(OSError, match="the store cannot be reached"):
        async with open_store("nats://127.0.0.1:9/peers"):
            raise AssertionError("it was reached")


async def test_a_server_that_has_no_answer_is_left_for_another(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """As one has none that is cut off from the others; here it has no JetStream."""
    silent = NatsServer(tmp_path / "silent", arguments=["-js=false"])
    silent.start()
    try:
        await asyncio.to_thread(silent.wait)
        both = f"nats://{silent.address},{nats_server.address}/test-{os.urandom(4).hex()}"
        for _ in range(6):  # either may be the first
            async with NatsStore.open(both) as store:
                await store.put(A)
                assert (await store.peers())[0] == {ALICE: A}
    finally:
        silent.kill()


async def test_the_socket_of_a_server_that_says_nothing_is_closed(tmp_path: Path) -> None:
    """As one that is stopped, while the connection is made again."""
    loop = asyncio.get_running_loop()
    server = NatsServer(tmp_path / "nats")
    server.start()
    try:
        server.wait()
        async with NatsStore.open(f"nats://{server.address}/peers"):
            server.kill()
            with socket.create_server((server.host, server.port)) as silent:
                silent.setblocking(False)
                accepted, _ = await loop.sock_accept(silent)
                with accepted:
                    assert await asyncio.wait_for(loop.sock_recv(accepted, 1), 20) == b""
    finally:
        server.kill()


async def test_a_change_that_nobody_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = NatsServer(tmp_path / "nats")
    server.start()
    try:
        server.wait()
        async with NatsStore.open(f"nats://{server.address}/peers") as store:
            server.kill()
            monkeypatch.setattr(bucket_module, "PATIENCE", 0.2)
            with pytest.raises(OSError, match="the store cannot be reached"):
                await store.put(A)
            server.start()
            await asyncio.to_thread(server.wait)
            monkeypatch.setattr(bucket_module, "PATIENCE", 10.0)
            await store.put(B)
            assert (await store.peers())[0] == {BOB: B}
    finally:
        server.kill()


class Late:
    """A bucket that takes the first write only when the second comes, as servers of NATS do that
    elect a leader meanwhile."""

    def __init__(self) -> None:
        self.snapshot = bucket_module.Snapshot()
        self._waits: tuple[str, bytes | None] | None = None

    async def read(self, known: bucket_module.Snapshot) -> bucket_module.Snapshot:
        return self.snapshot

    async def write(self, key: str, value: bytes | None, *, bucket_revision: int) -> int:
        if not self.snapshot.revision:
            if self._waits is None:
                self._waits = key, value
                raise bucket_module.UnreachableError("no answer")
            key, value = self._waits
            self.snapshot = bucket_module.Snapshot(0, 1, {key: bucket_module.Entry(1, value)})
        raise bucket_module.ConflictError(key)


async def test_a_change_that_is_made_late_is_made_once() -> None:
    """A client whose keys are made for it, each time anew, is no second one then."""
    late = Late()
    numbers = iter(range(1, 9))

    def decide(peers: Peers) -> Change:
        key = bytes([next(numbers)]) * 32
        return Change(key, PeerConfig(key, name="phone"))

    change = await NatsStore(cast(bucket_module.Bucket, late)).change(decide)
    assert change.public_key == bytes([1]) * 32
    assert list(late.snapshot.entries) == [f"peer.{change.public_key.hex()}"]


async def test_a_bucket_with_a_history(nats_server: NatsServer, url: str) -> None:
    address = parse_address(url)
    async with connected(address) as client:
        await client.jetstream().create_key_value(bucket=address.bucket, history=5, direct=True)
    with pytest.raises(ValueError, match="keeps a history"):
        async with NatsStore.open(url):
            raise AssertionError("it was opened")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("http://a/b", "a store is file:PATH or nats://"),
        ("nats:", "a store of NATS is nats://HOST:4222/BUCKET"),
        ("nats://u:secret@/b", "a store of NATS is"),
        ("nats://u:secret@a,,b/c", "a store of NATS is"),
        ("nats://u:secret@a", "a bucket is named"),
        ("nats://u:secret@a/b/c", "a bucket is named"),
        ("nats://u:secret@a/b?x=1", "x is no option"),
        ("nats://u:secret@a/b?replicas=2", "replicas are 1, 3 or 5"),
        ("file:", "a store is file:PATH"),
    ],
)
async def test_wrong_urls(wrong: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        async with open_store(wrong):
            raise AssertionError("it was opened")
    assert "secret" not in str(caught.value)


def test_a_url_of_several_servers() -> None:
    address = parse_address("tls://u:p@a:1,b/peers?replicas=3&ca=/etc/ca.pem")
    assert address.servers == ("tls://u:p@a:1", "tls://u:p@b")
    assert (address.bucket, address.replicas, address.files) == ("peers", 3, {"ca": "/etc/ca.pem"})


# What stands behind a key.

names = st.text(max_size=64).filter(lambda text: text == text.strip() and text.isprintable())
peers = st.builds(
    PeerConfig,
    st.just(ALICE),
    preshared_key=st.binary(min_size=32, max_size=32),
    endpoint=st.sampled_from([None, ("vpn.example", 1), ("2001:db8::1", 65535)]),
    allowed_ips=st.lists(st.ip_addresses().map(ip_network), max_size=3).map(tuple),
    persistent_keepalive=st.integers(0, 65535),
    name=names,
    enabled=st.booleans(),
)


@given(peers)
def test_a_peer_comes_back_as_it_was(peer: PeerConfig) -> None:
    assert decode_peer(ALICE, encode_peer(peer)) == peer
    assert parse_name(peer.name) == peer.name


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)
fields = st.dictionaries(st.sampled_from(list(nats_module.FIELDS)), values)


@given(
    st.binary()
    | values.map(lambda value: json.dumps(value).encode())
    | fields.map(lambda value: json.dumps(value).encode())
)
def test_anything_else_is_refused(data: bytes) -> None:
    """It is a peer or a ValueError."""
    with contextlib.suppress(ValueError):
        decode_peer(ALICE, data)


# Three servers of NATS.


@pytest.mark.interop
async def test_three_replicas_lose_nothing(tmp_path: Path) -> None:
    """The one that leads dies while peers are added; what was acknowledged is there."""
    with cluster(tmp_path) as servers:
        addresses = ",".join(server.address for server in servers)
        url = f"nats://{addresses}/peers?replicas=3"
        for _ in range(100):
            try:
                store_context = NatsStore.open(url)
                store = await store_context.__aenter__()
                break
            except OSError:  # they have not found each other yet
                await asyncio.sleep(0.1)
        try:
            address = parse_address(url)
            async with connected(address) as client, followed(store) as seen:
                info = await client.jetstream().stream_info("KV_peers")
                assert info.cluster is not None
                leader = next(n for n in range(3) if info.cluster.leader == f"nats{n}")
                added: list[bytes] = []
                for number in range(60):
                    if number == 30:
                        servers[leader].kill()
                    peer = PeerConfig(number.to_bytes(32, "big"))
                    added.append((await add_peer(store, peer, ["10.9.0.1/24"])).public_key)
                await until(lambda: list(seen) == added)
                assert len({peer.allowed_ips for peer in seen.values()}) == 60
        finally:
            await store_context.__aexit__(None, None, None)


@pytest.mark.requires("tun", "netns")
async def test_a_server_follows_the_store(store: NatsStore, url: str, tmp_path: Path) -> None:
    """Each change is in its interface; who is disabled is out."""
    path = tmp_path / "wg9.conf"
    path.write_text(f"[Interface]\nPrivateKey = {encode_key(bytes([8]) * 32)}\n")
    path.chmod(0o600)
    async with NatsStore.open(url) as its_own:
        server = Server(ConfigFile(path), "wg9", store=its_own)
        task = asyncio.ensure_future(server.run(uapi=False))
        try:
            await until(lambda: hasattr(server, "config"))
            tunnel = server.wireguard.tunnel
            await store.put(A)
            await store.put(B)
            await until(lambda: {*tunnel.peers} == {ALICE, BOB})
            await set_enabled(store, "alice", enabled=False)
            await until(lambda: {*tunnel.peers} == {BOB})
            await set_enabled(store, "alice", enabled=True)
            await store.remove(BOB)
            await until(lambda: {*tunnel.peers} == {ALICE})
        finally:
            task.cancel()
            await asyncio.wait([task])


def test_an_error_in_another_process() -> None:
    error = bucket_module.UnreachableError(ValueError("no answer"))
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(again), str(again)) == (type(error), str(error))
