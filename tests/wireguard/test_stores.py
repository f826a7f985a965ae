"""Stores of peers: what they keep, what they tell of changes, and what of a file stays."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rigs import until

from aiotun.wireguard.config import InterfaceConfig, PeerConfig
from aiotun.wireguard.config_file import ConfigFileError, format_config, parse_config
from aiotun.wireguard.keys import encode_key
from aiotun.wireguard.server import Server
from aiotun.wireguard.stores import file as file_module
from aiotun.wireguard.stores.base import Change, Decide, Store
from aiotun.wireguard.stores.file import ConfigFile, FileStore, peers_in, with_peer, without_peer

KEY, ALICE, BOB, CAROL = (bytes([n]) * 32 for n in (8, 1, 2, 3))

A = PeerConfig(
    ALICE, name="alice", endpoint=("vpn.example", 1), allowed_ips=(ip_network("10.0.0.1/32"),)
)
B = PeerConfig(BOB, preshared_key=KEY, allowed_ips=(ip_network("fd00::/64"),))
C = PeerConfig(CAROL, persistent_keepalive=25)
CALLED = dataclasses.replace(C, name="carol")

TEXT = """\
# A server.

[Interface] # the first one
PrivateKey = CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=
PostUp = echo '[Peer]'

# alice
# her laptop
[Peer]
PublicKey = AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=
# moved in May
Endpoint = vpn.example:1
AllowedIPs = 10.0.0.1/32
#AllowedIPs = 10.0.0.9/32
[ Peer ]
PublicKey = AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=
PresharedKey = CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=
AllowedIPs = fd00::/64

[Interface]
ListenPort = 51820
"""


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "INTERVAL", 0.01)


class MemoryStore(Store[int]):
    """Peers in memory; a revision is how many changes there were."""

    def __init__(self, *peers: PeerConfig) -> None:
        self._peers = {peer.public_key: peer for peer in peers}
        self._changes: list[Change] = []
        self._changed = asyncio.Event()

    async def peers(self) -> tuple[dict[bytes, PeerConfig], int]:
        return self._peers.copy(), len(self._changes)

    async def watch(self, revision: int) -> AsyncGenerator[list[Change], None]:
        while True:
            self._changed.clear()
            new = self._changes[revision:]
            revision += len(new)
            if new:
                yield new
            else:
                await self._changed.wait()

    async def _change(self, decide: Decide) -> Change:
        key, peer = change = decide(self._peers)
        if peer is None:
            del self._peers[key]
        else:
            self._peers[key] = peer
        self._tell(change)
        return change

    def _tell(self, change: Change) -> None:
        self._changes.append(change)
        self._changed.set()


@pytest.fixture
def file(tmp_path: Path) -> FileStore:
    path = tmp_path / "wg0.conf"
    path.write_text(TEXT)
    path.chmod(0o600)
    return FileStore(ConfigFile(path, allow_commands=True))


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest) -> Store[Any]:
    store: Store[Any] = MemoryStore(A, B)
    return request.getfixturevalue("file") if request.param == "file" else store


# What any store does.


async def test_peers_are_put_and_removed(store: Store[Any]) -> None:
    assert (await store.peers())[0] == {ALICE: A, BOB: B}
    await store.put(C)
    assert (await store.peers())[0] == {ALICE: A, BOB: B, CAROL: C}
    changed = dataclasses.replace(A, endpoint=None)
    await store.put(changed)
    await store.remove(BOB)
    assert (await store.peers())[0] == {ALICE: changed, CAROL: C}
    with pytest.raises(KeyError):
        await store.remove(BOB)


@contextlib.asynccontextmanager
async def watched(store: Store[Any]) -> AsyncIterator[asyncio.Queue[Change]]:
    """What has changed since it is entered."""
    _, revision = await store.peers()
    changes: asyncio.Queue[Change] = asyncio.Queue()

    async def watch() -> None:
        async with contextlib.aclosing(store.watch(revision)) as found:
            async for several in found:
                for change in several:
                    changes.put_nowait(change)

    task = asyncio.ensure_future(watch())
    try:
        yield changes
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_changes_are_told(store: Store[Any]) -> None:
    async with watched(store) as changes:
        await store.put(C)
        assert await asyncio.wait_for(changes.get(), 20) == Change(CAROL, C)
        await store.remove(ALICE)
        assert await asyncio.wait_for(changes.get(), 20) == Change(ALICE, None)
        changed = dataclasses.replace(B, persistent_keepalive=5)
        await store.put(changed)
        assert await asyncio.wait_for(changes.get(), 20) == Change(BOB, changed)
        assert changes.empty()


async def test_what_changed_before_one_watches_is_told(store: Store[Any]) -> None:
    _, revision = await store.peers()
    await store.put(C)
    await store.remove(ALICE)
    await store.peers()  # by somebody else
    async with contextlib.aclosing(store.watch(revision)) as found:
        assert set(await asyncio.wait_for(anext(found), 20)) == {
            Change(CAROL, C),
            Change(ALICE, None),
        }


@pytest.mark.requires("tun", "netns")
async def test_a_server_has_its_peers_from_a_store(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Key, port and addresses come from its file, and follow that."""
    path = tmp_path / "wg9.conf"
    path.write_text(TEXT.replace("PostUp", "# "))
    path.chmod(0o600)
    store = MemoryStore(A)
    server = Server(ConfigFile(path), "wg9", store=store)
    task = asyncio.ensure_future(server.run(uapi=False))
    try:
        await until(lambda: hasattr(server, "config") and len(server.config.peers) == 1)
        tunnel = server.wireguard.tunnel
        assert list(tunnel.peers) == [ALICE]
        assert f"peer {encode_key(BOB)} stands in the file" in caplog.text
        await store.put(C)
        await store.put(B)
        await until(lambda: {*tunnel.peers} == {ALICE, BOB, CAROL})
        await store.remove(ALICE)
        await until(lambda: {*tunnel.peers} == {BOB, CAROL})
        path.write_text(path.read_text().replace("51820", "51999"))
        await until(lambda: server.wireguard.listen_port == 51999)
        assert {*tunnel.peers} == {BOB, CAROL}
    finally:
        task.cancel()
        await asyncio.wait([task])


# Files.


async def test_what_is_no_peer_is_no_change(file: FileStore, tmp_path: Path) -> None:
    async with watched(file) as changes:
        path = tmp_path / "wg0.conf"
        path.write_text(TEXT.replace("51820", "51821") + "# the end\n")
        await asyncio.sleep(0.1)
        assert changes.empty()
        path.write_text(path.read_text() + "[Peer]\nPublicKey = nonsense\n")
        await asyncio.sleep(0.1)
        await file._file.save(InterfaceConfig(KEY, peers=(B,)))
        assert await asyncio.wait_for(changes.get(), 20) == Change(ALICE, None)
        assert changes.empty()


async def test_all_that_read_a_file_share_what_it_says(file: FileStore, tmp_path: Path) -> None:
    """However many they are: of 10,000 peers it is some ten megabytes each."""
    config = await file._file.load()
    assert await file._file.load() is config
    peers, _ = await file.peers()
    bob = config.peers[1]
    assert peers[BOB] is bob
    assert peers[ALICE].allowed_ips is config.peers[0].allowed_ips
    (tmp_path / "wg0.conf").write_text(TEXT.replace("51820", "51821"))
    changed = await file._file.load()
    assert changed.listen_port == 51821
    assert (await file.peers())[0][BOB] is changed.peers[1] is not bob


async def test_a_broken_file_is_told_of_once(
    file: FileStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(file), watched(file):
        for port in ("70000", "80000"):
            (tmp_path / "wg0.conf").write_text(TEXT.replace("51820", port))
            while port not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
    assert caplog.text.count("ListenPort") == 2


async def test_a_file_that_cannot_be_read_is_not_edited(file: FileStore, tmp_path: Path) -> None:
    path = tmp_path / "wg0.conf"
    path.write_text(TEXT + "[Nonsense]\n")
    for change in (file.put(C), file.remove(ALICE)):
        with pytest.raises(ConfigFileError, match="line"):
            await change
    assert path.read_text() == TEXT + "[Nonsense]\n"


def test_a_peer_more() -> None:
    assert with_peer(TEXT, CALLED) == (
        TEXT + "\n# carol\n[Peer]\nPublicKey = AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n"
        "PersistentKeepalive = 25\n"
    )
    assert with_peer(TEXT[:-1], CALLED) == with_peer(TEXT, CALLED)


def test_a_peer_in_place_of_another() -> None:
    """Its comments stay, and all other lines."""
    changed = with_peer(TEXT, PeerConfig(ALICE, name="alice"))
    gone = ("Endpoint = vpn.example:1\n", "AllowedIPs = 10.0.0.1/32\n")
    assert changed == "".join(line for line in TEXT.splitlines(keepends=True) if line not in gone)


def test_a_peer_less() -> None:
    """The comment right above it goes too, that of the one before stays."""
    lines = TEXT.splitlines(keepends=True)
    alice = lines.index("# alice\n")
    bob = lines.index("[ Peer ]\n")
    last = lines.index("[Interface]\n")
    assert without_peer(TEXT, ALICE) == "".join(lines[:alice] + lines[bob:])
    assert without_peer(TEXT, BOB) == "".join(lines[:bob] + lines[last:])


peers = st.builds(
    PeerConfig,
    st.sampled_from([ALICE, BOB, CAROL]),
    preshared_key=st.sampled_from([bytes(32), KEY]),
    endpoint=st.sampled_from([None, ("192.0.2.1", 1), ("2001:db8::1", 65535)]),
    allowed_ips=st.sampled_from([(), (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))]),
    persistent_keepalive=st.integers(0, 9),
    enabled=st.booleans(),
)
noise = st.lists(st.sampled_from(["\n", "# [Peer]\n", "  # x\x0c[Peer]\n", " \n"]), max_size=3)


@given(st.lists(st.tuples(peers, noise, st.booleans()), max_size=8), st.data())
def test_any_edits(edits: list[tuple[PeerConfig, list[str], bool]], data: st.DataObject) -> None:
    """The file says what it should, and no comment of another section is lost."""
    text = format_config(InterfaceConfig(KEY))
    expected: dict[bytes, PeerConfig] = {}
    for peer, between, remove in edits:
        text += "".join(between)
        if not remove:
            text = with_peer(text, peer)
            expected[peer.public_key] = peer
        elif peer.public_key in expected:
            text = without_peer(text, peer.public_key)
            del expected[peer.public_key]
        found = {key: dataclasses.replace(each, name="") for key, each in peers_in(text).items()}
        assert found == expected
        enabled = [each for each in expected.values() if each.enabled]
        assert sorted(parse_config(text).peers, key=repr) == sorted(enabled, key=repr)
    if expected:
        kept = data.draw(st.sampled_from(list(expected)))
        text = with_peer(text, PeerConfig(kept))
        comments = text.count("#")
        assert with_peer(text, PeerConfig(kept)).count("#") == comments


@pytest.mark.parametrize("enabled", [True, False])
def test_a_comment_that_looks_like_a_line_of_a_disabled_peer(enabled: bool) -> None:
    """Somebody has made it of a line of a peer that is enabled: it stays a comment."""
    comment = "# (disabled) AllowedIPs = 0.0.0.0/0\n"
    text = TEXT.replace("\n[ Peer ]", f"\n{comment}[ Peer ]")
    text = text.replace("\nAllowedIPs = 10", f"\n{comment}AllowedIPs = 10")
    assert peers_in(text) == peers_in(TEXT)
    bob = dataclasses.replace(B, enabled=enabled)
    for changed in (
        with_peer(text, bob),
        with_peer(with_peer(text, bob), dataclasses.replace(A, enabled=enabled)),
    ):
        found = peers_in(changed)
        assert found[ALICE].allowed_ips == A.allowed_ips
        assert found[BOB] == bob


async def test_a_disabled_peer_becomes_a_comment(file: FileStore, tmp_path: Path) -> None:
    """wg-quick reads nothing of it; it comes back as it was."""
    path = tmp_path / "wg0.conf"
    async with watched(file) as changes:
        disabled = dataclasses.replace(A, enabled=False)
        await file.put(disabled)
        assert (await file.peers())[0] == {ALICE: disabled, BOB: B}
        (left,) = parse_config(path.read_text(), allow_commands=True).peers
        assert left.public_key == BOB
        assert await asyncio.wait_for(changes.get(), 20) == Change(ALICE, disabled)
        await file.put(C)
        await file.put(A)
        assert (await file.peers())[0] == {ALICE: A, BOB: B, CAROL: C}
        assert "# alice\n# her laptop\n[Peer]\n" in path.read_text().replace("# moved in May\n", "")
        await file.put(disabled)
        await file.remove(ALICE)
        assert (await file.peers())[0] == {BOB: B, CAROL: C}
        assert "alice" not in path.read_text()


async def test_a_name_is_the_comment_above(file: FileStore, tmp_path: Path) -> None:
    await file.put(dataclasses.replace(A, name="Alice's"))
    await file.put(dataclasses.replace(B, name="bob"))
    peers, _ = await file.peers()
    assert [peer.name for peer in peers.values()] == ["Alice's", "bob"]
    text = (tmp_path / "wg0.conf").read_text()
    assert "# Alice's\n# her laptop\n" in text
    assert "# alice\n" not in text


async def test_a_network_belongs_to_one_peer(store: Store[Any]) -> None:
    thief = dataclasses.replace(C, allowed_ips=A.allowed_ips)
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/32 belongs to alice"):
        await store.put(thief)
    assert (await store.peers())[0] == {ALICE: A, BOB: B}


async def test_no_change_of_a_file_is_lost(file: FileStore) -> None:
    """However many programs change it at once."""
    many = [PeerConfig(bytes([n]) * 32) for n in range(10, 40)]
    others = [FileStore(ConfigFile(file._file.path, allow_commands=True)) for _ in many]
    await asyncio.gather(*(other.put(peer) for other, peer in zip(others, many, strict=True)))
    peers, _ = await file.peers()
    assert {*peers} == {ALICE, BOB, *(peer.public_key for peer in many)}


async def test_a_configuration_is_not_saved_amid_a_change(file: FileStore) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def change(text: str) -> str:
        reading.set()
        go_on.wait(10)
        return text + "# changed"

    editing = asyncio.ensure_future(file._file.edit(change))
    await asyncio.to_thread(reading.wait, 10)
    saving = asyncio.ensure_future(file._file.save(InterfaceConfig(KEY)))
    await asyncio.wait([saving], timeout=0.2)
    assert not saving.done()
    go_on.set()
    await asyncio.gather(editing, saving)
    assert file._file.text() == format_config(InterfaceConfig(KEY))
