"""Events: each change once, whoever made it, and none of anybody else's."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import asyncio
import errno
import os
import select
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from typing import Any

import outside
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outside import opened
from restricted import CAP_NET_BROADCAST, drop_capabilities
from rigs import Recorder, endpoint, until

import aiotun
from aiotun.addresses import Address
from aiotun.interfaces import AddressAdded, AddressRemoved, Event, InterfaceGone, LinkChanged
from aiotun.platforms.base import EventSource
from aiotun.platforms.linux.events import RTNLGRP_NSID
from aiotun.platforms.linux.netlink import SOL_NETLINK
from aiotun.platforms.linux.rtnetlink.addresses import encode_address
from aiotun.platforms.linux.rtnetlink.links import encode_link
from aiotun.platforms.linux.rtnetlink.messages import Message
from aiotun.platforms.linux.threads import in_thread
from aiotun.testing.namespace import Namespace

pytestmark = pytest.mark.requires("tun", "netns")

FOUR, SIX = Address.parse("10.9.0.1/24"), Address.parse("fd09::1/64")
NETLINK_LIST_MEMBERSHIPS = 9
"""linux/netlink.h"""

MAC = "02:00:00:00:00:01"


def is_own(event: Event) -> bool:
    """Whether it is not about the link-local address, which the kernel adds when it likes."""
    return not (
        isinstance(event, (AddressAdded, AddressRemoved)) and event.address.interface.is_link_local
    )


def read(source: EventSource) -> list[Event]:
    return [event for event in source.read() if is_own(event)]


def read_until(source: EventSource, last: Event) -> list[Event]:
    """IPv6 addresses are announced a moment after they were added."""
    events = read(source)
    while last not in events and select.select([source], [], [], 2.0)[0]:
        events += read(source)
    return events


def waiting(source: EventSource, timeout: float = 0) -> bool:
    return bool(select.select([source], [], [], timeout)[0])


def test_nothing_is_reported_of_the_making(namespace: Namespace) -> None:
    with opened(namespace, addresses=[FOUR, SIX], mtu=1400, up=False) as (interface, _):
        assert interface.events().read() == []
        waiting(interface.events(), 0.05)  # IPv6 addresses are announced a moment after
        assert interface.events().read() == []
        assert interface.events() is interface.events()


def test_of_threads_that_read_each_change_is_told_one(namespace: Namespace) -> None:
    with opened(namespace, addresses=[FOUR]) as (interface, _):
        source = interface.events()
        changed = Address.parse("10.9.0.9/24")
        told: list[Event] = []
        ended = threading.Event()

        def listen() -> None:
            while not ended.is_set():
                told.extend(read(source))

        with ThreadPoolExecutor(4) as pool:
            listening = [pool.submit(listen) for _ in range(4)]
            try:
                for _ in range(200):
                    interface.add_address(changed)
                    interface.remove_address(changed)
            finally:
                ended.set()
            for each in listening:
                each.result(10)
        told += read(source)
    assert len(told) == 400
    assert told.count(AddressAdded(changed)) == 200


def test_changes_by_others(namespace: Namespace) -> None:
    with opened(namespace, name="t0", up=False) as (interface, _):
        source = interface.events()
        namespace.run(outside.set_mtu, "t0", 1400)
        assert waiting(source)
        assert read(source) == [LinkChanged("t0", 1400, False)]
        namespace.run(outside.rename, "t0", "t1")
        assert read(source) == [LinkChanged("t1", 1400, False)]
        namespace.run(outside.set_up, "t1", True)
        assert read(source) == [LinkChanged("t1", 1400, True)]
        namespace.run(outside.set_up, "t1", False)
        assert read(source) == [LinkChanged("t1", 1400, False)]
        namespace.run(outside.delete, "t1")
        assert read(source) == [InterfaceGone()]
        assert read(source) == []


def test_a_carrier_and_a_mac_address_that_others_change(namespace: Namespace) -> None:
    with opened(namespace, name="t0", layer="tap", mac=MAC) as (interface, _):
        source = interface.events()
        namespace.run(outside.set_mac, "t0", "02:00:00:00:00:02")
        assert read(source) == [LinkChanged("t0", 1500, True, mac="02:00:00:00:00:02")]
        namespace.run(outside.set_carrier, "t0", False)
        lost = LinkChanged("t0", 1500, True, carrier=False, mac="02:00:00:00:00:02")
        assert read_until(source, lost) == [lost]  # the kernel gathers these for up to a second


def test_a_peer_and_a_broadcast_address_that_others_change(namespace: Namespace) -> None:
    old, new = (Address.parse(f"10.9.0.1 peer 10.9.0.{n}") for n in (2, 3))
    with opened(namespace, name="t0", addresses=[old]) as (interface, _):
        source = interface.events()
        namespace.run(outside.set_ipv4, "t0", outside.SIOCSIFDSTADDR, "10.9.0.3")
        assert read(source) == [AddressRemoved(old), AddressAdded(new)]
        namespace.run(outside.set_ipv4, "t0", outside.SIOCSIFBRDADDR, "10.9.0.9")
        assert read(source) == [AddressRemoved(new), AddressAdded(new)]
        assert interface.broadcast() == IPv4Address("10.9.0.9")


def test_a_new_peer_takes_the_place_of_the_old_one(namespace: Namespace) -> None:
    """The kernel says nothing of the removal."""
    old, new = (Address.parse(f"fd09::1 peer fd09::{n}") for n in (2, 3))
    with opened(namespace, name="t0", addresses=[old]) as (interface, _):
        namespace.run(outside.add_address, "t0", new)
        assert new in interface.addresses()
        events = read_until(interface.events(), AddressAdded(new))
        assert events == [AddressRemoved(old), AddressAdded(new)]


def test_changes_of_ones_own(namespace: Namespace) -> None:
    with opened(namespace, name="t0") as (interface, _):
        source = interface.events()
        interface.add_address(FOUR)
        interface.set_mtu(1400)
        interface.remove_address(FOUR)
        assert read(source) == [
            AddressAdded(FOUR),
            LinkChanged("t0", 1400, True),
            AddressRemoved(FOUR),
        ]
        interface.add_address(SIX)
        assert read_until(source, AddressAdded(SIX)) == [AddressAdded(SIX)]
        interface.set_up(False)  # takes IPv6 addresses with it
        assert read(source) == [LinkChanged("t0", 1400, False), AddressRemoved(SIX)]


def test_a_change_back_and_forth_is_two(namespace: Namespace) -> None:
    with opened(namespace, name="t0") as (interface, _):
        interface.set_mtu(1400)
        interface.set_mtu(1500)
        assert read(interface.events()) == [
            LinkChanged("t0", 1400, True),
            LinkChanged("t0", 1500, True),
        ]


def test_what_the_kernel_repeats_is_no_event(namespace: Namespace) -> None:
    """A rename announces the IPv4 addresses again, an address is announced as it gets ready."""
    settings = {"layer": "tap", "mac": MAC, "addresses": [FOUR, SIX], "up": False}
    with opened(namespace, name="t0", **settings) as (interface, _):
        namespace.run(outside.rename, "t0", "t1")
        interface.set_up(True)
        assert read(interface.events()) == [
            LinkChanged("t1", 1500, False, mac=MAC),
            LinkChanged("t1", 1500, True, mac=MAC),
        ]


def test_other_interfaces_do_not_wake(namespace: Namespace) -> None:
    with (
        opened(namespace, name="t0", up=False) as (first, _),  # so that it gets no link-local
        opened(namespace, name="t1") as (second, _),
    ):
        second.set_mtu(1400)
        second.add_address(FOUR)
        second.add_address(SIX)
        assert read_until(second.events(), AddressAdded(SIX))[-1] == AddressAdded(SIX)
        assert not waiting(first.events())
        namespace.run(outside.delete, "t1")
        assert not waiting(first.events())
        assert read(second.events())[-1] == InterfaceGone()


def test_leaving_a_bridge_is_no_deletion(namespace: Namespace) -> None:
    """The bridge says so by RTM_DELLINK with the interface's index."""
    namespace.run(outside.make, "br0", "bridge")
    with opened(namespace, name="t0", layer="tap", mac=MAC) as (interface, _):
        interface.events().read()
        namespace.run(outside.set_master, "t0", "br0")
        namespace.run(outside.set_master, "t0", None)
        assert waiting(interface.events())
        assert read(interface.events()) == []
        interface.set_mtu(1400)
        assert read(interface.events()) == [LinkChanged("t0", 1400, True, mac=MAC)]


def test_a_move_to_another_namespace_is_no_deletion(namespace: Namespace) -> None:
    with Namespace() as other, opened(namespace, name="t0", addresses=[FOUR]) as (interface, _):
        namespace.run(outside.move, "t0", other)
        assert read(interface.events()) == [LinkChanged("t0", 1500, False), AddressRemoved(FOUR)]
        other.run(outside.move, "t0", namespace)
        interface.set_up(True)
        assert read(interface.events()) == [LinkChanged("t0", 1500, True)]


@pytest.mark.parametrize("taken", [False, True], ids=["same index", "index taken"])
def test_deleted_in_another_namespace(namespace: Namespace, taken: bool) -> None:
    with Namespace() as other, opened(namespace, name="t0") as (interface, _):
        if taken:
            other.run(outside.make, "br0", "bridge")
        index = interface.index
        namespace.run(outside.move, "t0", other)
        assert taken == (index != other.run(socket.if_nametoindex, "t0"))
        read(interface.events())
        other.run(outside.rename, "t0", "t1")
        assert waiting(interface.events())
        assert read(interface.events()) == []
        other.run(outside.delete, "t1")
        assert waiting(interface.events())
        assert read(interface.events()) == [InterfaceGone()]


def test_deleted_in_another_namespace_before_the_move_was_read(namespace: Namespace) -> None:
    with Namespace() as other, opened(namespace, name="t0") as (interface, _):
        namespace.run(outside.move, "t0", other)
        other.run(outside.delete, "t0")
        assert read(interface.events())[-1] == InterfaceGone()


def test_a_move_without_privileges(namespace: Namespace) -> None:
    """What follows is not told; that it is not deleted is known all the same."""

    def read_without() -> list[Event]:
        drop_capabilities(CAP_NET_BROADCAST)
        return read(interface.events())

    with Namespace() as other, opened(namespace, name="t0", up=False) as (interface, _):
        namespace.run(outside.move, "t0", other)
        assert in_thread(read_without) == []
        other.run(outside.delete, "t0")
        assert not waiting(interface.events())


def flood(namespace: Namespace, source: EventSource) -> None:
    """Fill the source's buffer, so that what comes after is lost."""
    size = struct.pack("i", 0)  # the kernel makes it its minimum
    with socket.socket(fileno=os.dup(source.fileno())) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    for mtu in range(1300, 1310):
        namespace.run(outside.set_mtu, "t0", mtu)


def test_lost_events_are_made_good(namespace: Namespace) -> None:
    with opened(namespace, name="t0", addresses=[SIX]) as (interface, _):
        source = interface.events()
        flood(namespace, source)
        interface.add_address(FOUR)
        interface.remove_address(SIX)
        events = read(source)
        assert events[-3:] == [
            LinkChanged("t0", 1309, True),
            AddressRemoved(SIX),
            AddressAdded(FOUR),
        ]
        assert len(events) < 10  # so some were lost indeed
        assert read(source) == []
        interface.set_mtu(1500)
        assert read(source) == [LinkChanged("t0", 1500, True)]


def test_events_add_up_however_many_are_lost(namespace: Namespace) -> None:
    with opened(namespace, name="t0", up=False) as (interface, _):
        source = interface.events()
        flood(namespace, source)

        def change() -> None:
            for number in range(200):
                address = Address.parse(f"10.{number}.0.1/24")
                interface.add_address(address)
                if number % 3:
                    interface.remove_address(address)
                interface.set_mtu(1300 + number)

        changes = threading.Thread(target=change)
        changes.start()
        addresses: set[Address] = set()
        mtu = 0
        while changes.is_alive() or waiting(source):
            for event in source.read():
                if isinstance(event, AddressAdded):
                    addresses.add(event.address)
                elif isinstance(event, AddressRemoved):
                    addresses.remove(event.address)
                elif isinstance(event, LinkChanged):
                    mtu = event.mtu
        changes.join()
        assert addresses == set(interface.addresses())
        assert mtu == 1499


def test_a_lost_deletion_is_made_good(namespace: Namespace) -> None:
    with opened(namespace, name="t0") as (interface, _):
        source = interface.events()
        flood(namespace, source)
        namespace.run(outside.delete, "t0")
        assert read(source)[-1] == InterfaceGone()
        assert read(source) == []


def test_a_lost_move_is_made_good(namespace: Namespace) -> None:
    with Namespace() as other, opened(namespace, name="t0") as (interface, _):
        source = interface.events()
        flood(namespace, source)
        namespace.run(outside.move, "t0", other)
        assert InterfaceGone() not in read(source)


def test_a_closed_queue_counts_as_gone(namespace: Namespace) -> None:
    with opened(namespace, name="t0") as (interface, queue):
        queue.close()
        assert read(interface.events())[-1] == InterfaceGone()


def test_closed(namespace: Namespace) -> None:
    with opened(namespace) as (interface, _):
        source = interface.events()
        source.close()
        source.close()
        assert source.fileno() == -1
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            source.read()
        assert caught.value.errno == errno.EBADF


def test_a_state_that_cannot_be_read_leaves_nothing_open(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fixture no_leaks looks for the descriptor."""
    from aiotun.platforms.linux.events import NetlinkEvents

    def fail() -> Any:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    with (
        opened(namespace) as (interface, queue),
        pytest.raises(OSError, match="Cannot allocate memory"),
    ):
        namespace.run(NetlinkEvents, queue, interface.index, fail)


async def test_an_event_loop_wakes(namespace: Namespace) -> None:
    with opened(namespace, name="t0") as (interface, _):
        source = interface.events()
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()

        def on_readable() -> None:
            if InterfaceGone() in source.read():
                gone.set()

        loop.add_reader(source.fileno(), on_readable)
        await asyncio.to_thread(namespace.run, outside.delete, "t0")
        await asyncio.wait_for(gone.wait(), 5)
        loop.remove_reader(source.fileno())


@pytest.mark.parametrize("ended", [False, True], ids=["deleted", "its namespace ended"])
async def test_a_transport_that_is_paused_ends_with_a_device_that_was_moved(
    namespace: Namespace, ended: bool
) -> None:
    with Namespace() as other:
        device = namespace.run(aiotun.Device, name="t0")
        async with endpoint(device, Recorder) as protocol:
            protocol.transport.pause_reading()
            namespace.run(outside.move, "t0", other)
            await asyncio.sleep(0.01)
            assert not protocol.named("connection_lost")
            if ended:
                other.close()
            else:
                other.run(outside.delete, "t0")
            await until(lambda: protocol.named("connection_lost"))
        assert isinstance(protocol.named("connection_lost")[0], aiotun.InterfaceGoneError)


@pytest.mark.parametrize("asked", [True, False], ids=["", "which may not be asked for"])
async def test_another_namespace_ends(
    namespace: Namespace, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Than that to which the device was moved."""
    with Namespace() as other, Namespace() as third, opened(namespace, name="t1"):
        device = namespace.run(aiotun.Device, name="t0")
        async with endpoint(device, Recorder) as protocol:
            namespace.run(outside.move, "t0", other)
            namespace.run(outside.move, "t1", third)
            sock: socket.socket = protocol.transport._events._socket  # type: ignore[attr-defined]

            def listens() -> bool:
                told = sock.getsockopt(SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, 64)
                return bool(struct.unpack_from("=I", told)[0] & 1 << (RTNLGRP_NSID - 1))

            await until(listens)
            looks: list[None] = []
            queue: Any = device.queue
            ask = queue.open_namespace

            def open_namespace() -> int:
                looks.append(None)
                if asked:
                    return int(ask())
                raise PermissionError(errno.EPERM, "of the test")

            monkeypatch.setattr(queue, "open_namespace", open_namespace)
            third.close()
            await until(lambda: looks)
            await asyncio.sleep(0)
            assert not protocol.transport.is_closing()


async def test_a_transport_hears_more_after_lost_events(namespace: Namespace) -> None:
    device = namespace.run(aiotun.Device, name="t0")
    async with endpoint(device, Recorder) as protocol:

        def changes() -> list[int]:
            return [change.mtu for change in protocol.named("device_changed")]

        flood(namespace, protocol.transport._events)
        await until(lambda: changes()[-1:] == [1309])
        assert len(changes()) < 10  # so some were lost indeed
        for mtu in (1400, 1500):
            namespace.run(outside.set_mtu, "t0", mtu)
            await until(lambda mtu=mtu: changes()[-1] == mtu)  # type: ignore[misc]
        protocol.transport.pause_reading()
        namespace.run(outside.delete, "t0")
        await until(lambda: protocol.named("connection_lost"))


@pytest.mark.interop
@pytest.mark.requires("ip")
def test_changes_by_ip(namespace: Namespace) -> None:
    with opened(namespace, name="t0") as (interface, _):
        source = interface.events()
        for command, event in (
            ("link set t0 mtu 1400", LinkChanged("t0", 1400, True)),
            ("address add 10.9.0.1/24 dev t0", AddressAdded(FOUR)),
            ("address del 10.9.0.1/24 dev t0", AddressRemoved(FOUR)),
            (
                "address add fd09::1 peer fd09::2/128 dev t0",
                AddressAdded(Address.parse("fd09::1 peer fd09::2")),
            ),
            ("link set t0 name t1", LinkChanged("t1", 1400, True)),
            ("link del t1", InterfaceGone()),
        ):
            namespace.command("ip", *command.split())
            assert read_until(source, event)[-1] == event


@given(
    messages=st.lists(
        st.tuples(
            st.sampled_from([16, 17, 20, 21, 3]),
            st.sampled_from([0, 2, 7, 10]),
            st.sampled_from([7, 8]),
        )
    )
)
def test_messages_about_others_are_no_events(messages: list[tuple[int, int, int]]) -> None:
    """Should the filter ever let them through; index 7 is ours, but of family 7 only."""
    from aiotun.platforms.linux.events import NetlinkEvents

    source = NetlinkEvents.__new__(NetlinkEvents)
    source._index = 9
    for kind, family, index in messages:
        if kind in (16, 17):
            attributes = encode_link(index, name="t0", mtu=1)[16:]
            body = struct.pack("=BxHiII", family, 0, index, 0, 0) + attributes
        else:
            address = FOUR if family != 10 else SIX
            body = bytes([family]) + encode_address(index, address)[1:]
        assert source._on_message(Message(kind, 0, 0, body)) == []
