"""Device: packets and settings without an event loop."""

from __future__ import annotations

import copy
import dataclasses
import errno
import gc
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from packets import udp, unsummed
from rigs import Rig, RingRig, ToldAs, packet, unix_pair
from waiting import wait_until

import aiotun
from aiotun.packetio import Counters
from aiotun.testing import Namespace, memory_devices


def test_recv_and_send(rig: Rig) -> None:
    rig.send(packet(1))
    assert rig.device.recv(timeout=2) == packet(1)
    rig.device.send(packet(2))
    rig.device.send_many([packet(3), packet(4)])
    assert [rig.recv() for _ in range(3)] == [packet(n) for n in (2, 3, 4)]
    assert rig.device.counters == Counters(
        frames_received=1,
        packets_received=1,
        bytes_received=64,
        packets_sent=3,
        bytes_sent=192,
        frames_sent=3,
    )


def test_udp_without_checksums_is_coalesced_on_request() -> None:
    datagrams = [unsummed(udp(4, bytes([n]) * 100)) for n in range(5)]
    ours, theirs = unix_pair()
    adopted = aiotun.Device.from_fd(ours.detach(), framing="vnet", udp_zero_checksum=True)
    near, far = memory_devices(udp_zero_checksum=True)
    with theirs, adopted, near, far:
        for device in adopted, near, far:
            device.send_many(datagrams)
            assert device.counters.super_packets_sent == 1


def test_counters_are_copied() -> None:
    counters = Counters(packets_sent=3, dropped_received=1)
    for copied in (copy.copy(counters), copy.deepcopy(counters), dataclasses.replace(counters)):
        assert copied == counters
        copied.packets_sent += 1
    assert counters.packets_sent == 3


def test_recv_many_and_recv_take_from_the_same(rig: Rig) -> None:
    for n in range(10):
        rig.send(packet(n))
    assert rig.device.recv(timeout=2) == packet(0)
    assert rig.device.recv_many(timeout=2) == [packet(n) for n in range(1, 10)]
    rig.send(packet(10))
    assert rig.device.recv_many(timeout=2) == [packet(10)]


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_timeout(rig: Rig, timeout: float) -> None:
    start = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        rig.device.recv(timeout=timeout)
    assert timeout <= time.monotonic() - start < timeout + 5
    assert caught.value.errno == errno.ETIMEDOUT


def test_recv_waits_for_a_packet(rig: Rig) -> None:
    timer = threading.Timer(0.05, rig.send, [packet()])
    timer.start()
    assert rig.device.recv() == packet()
    timer.join()


def test_iteration(rig: Rig) -> None:
    received = []
    rig.send(packet(0))
    rig.send(packet(1))
    for each in rig.device:
        received.append(each)
        if len(received) == 2:
            rig.device.close()
    assert received == [packet(0), packet(1)]


def test_several_threads_send(rig: Rig) -> None:
    def send(first: int) -> None:
        for n in range(50):
            rig.device.send(packet(first + n))

    threads = [threading.Thread(target=send, args=[first]) for first in (0, 50, 100, 150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    received = [rig.recv() for _ in range(200)]
    assert sorted(received) == sorted(packet(n) for n in range(200))
    for first in (0, 50, 100, 150):
        mine = [packet(first + n) for n in range(50)]
        assert [each for each in received if each in mine] == mine


def test_sending_waits_while_the_device_pushes_back() -> None:
    near, far = memory_devices(capacity=5, push_back=True)
    received: list[bytes] = []

    def drain() -> None:
        while len(received) < 100:
            received.extend(far.recv_many(timeout=5))

    thread = threading.Thread(target=drain)
    with near, far:
        thread.start()
        near.send_many(packet(n) for n in range(100))
        thread.join()
    assert received == [packet(n) for n in range(100)]


@pytest.mark.parametrize(
    ("wrong", "number"),
    [(b"", errno.EINVAL), (bytes(70000), errno.EMSGSIZE), (bytes(64), errno.EINVAL)],
    ids=["empty", "too large", "no IP"],
)
def test_impossible_packets_raise(rig: Rig, wrong: bytes, number: int) -> None:
    with pytest.raises(aiotun.errors.PacketError) as caught:
        rig.device.send(wrong)
    assert caught.value.errno == number
    rig.device.send(packet())
    assert rig.recv() == packet()


def test_an_error_does_not_keep_back_the_rest(rig: Rig) -> None:
    with pytest.raises(aiotun.errors.PacketError):
        rig.device.send_many([packet(0), bytes(64), packet(1)])
    assert [rig.recv(), rig.recv()] == [packet(0), packet(1)]


def test_down(rig: Rig) -> None:
    assert rig.device.is_up
    rig.device.down()
    assert not rig.device.is_up
    with pytest.raises(aiotun.InterfaceDownError, match="set it up"):
        rig.device.send(packet())
    rig.device.up()
    rig.device.send(packet())


def test_deleted(rig: Rig) -> None:
    rig.delete()
    for call in (rig.device.recv, rig.device.recv_many):
        with pytest.raises(aiotun.InterfaceGoneError):
            call(timeout=1)
    with pytest.raises(aiotun.InterfaceGoneError):
        rig.device.send(packet())
    with pytest.raises(aiotun.InterfaceGoneError):
        rig.device.mtu = 1400
    with pytest.raises(aiotun.InterfaceGoneError):
        rig.device.up()


def test_deleted_while_waiting(rig: Rig) -> None:
    timer = threading.Timer(0.05, rig.delete)
    timer.start()
    with pytest.raises(aiotun.InterfaceGoneError):
        rig.device.recv(timeout=5)
    timer.join()


def test_settings(rig: Rig) -> None:
    device = rig.device
    offload = not isinstance(rig, RingRig)  # which has no super-packets
    assert (device.layer, device.offload, device.mtu) == ("tun", offload, 1500)
    assert device.index > 0
    assert device.name
    device.mtu = 1400
    assert device.mtu == 1400
    for wrong in (67, 65536):
        with pytest.raises(aiotun.errors.MTUError, match="out of range"):
            device.mtu = wrong
    device.add_address("10.9.0.1/24")
    assert aiotun.Address.parse("10.9.0.1/24") in device.addresses()
    with pytest.raises(aiotun.errors.AddressError, match=r"already|File exists"):
        device.add_address("10.9.0.1/24")
    device.remove_address("10.9.0.1/24")
    assert aiotun.Address.parse("10.9.0.1/24") not in device.addresses()
    with pytest.raises(aiotun.errors.AddressError):
        device.remove_address("10.9.0.1/24")
    with pytest.raises(aiotun.errors.AddressError, match="not an address"):
        device.add_address("10.9.0.1.5")


def test_details(rig: Rig) -> None:
    device = rig.device
    assert (device.mac, device.tx_queue_len, device.queues) == (None, 500, 1)
    assert (device.is_running, device.carrier, device.persistent) == (True, True, False)
    assert (device.owner, device.group) == (None, None)
    device.down()
    assert not device.is_running
    device.name = "vpn7"  # Linux before 6.2 renames no interface that is up
    assert device.name == "vpn7"
    device.up()
    assert device.is_running


def test_statistics(rig: Rig) -> None:
    rig.send(packet())
    rig.device.recv(timeout=2)
    rig.device.send_many([packet(), packet()])
    statistics = rig.device.statistics()
    assert (statistics.packets_received, statistics.packets_sent) == (1, 2)


def test_what_nobody_reads_is_dropped_and_counted(rig: Rig) -> None:
    for n in range(700):  # the queue has 500
        rig.send(packet(n))
    assert rig.device.statistics().dropped_received == 200
    assert rig.device.recv(timeout=1) == packet(0)


def test_closed(rig: Rig) -> None:
    device = rig.device
    kind = type(device).__name__
    assert repr(device) == f"<{kind} tun {device.name} open>"
    device.close()
    device.close()
    assert repr(device) == f"<{kind} tun closed>"
    for call in (device.recv, device.recv_many):
        with pytest.raises(aiotun.ClosedError) as caught:
            call()
        assert caught.value.errno == errno.EBADF
    with pytest.raises(aiotun.ClosedError):
        device.send(packet())
    assert list(device) == []


@pytest.mark.requires("tun", "netns")
def test_repr_when_the_interface_was_deleted(namespace: Namespace) -> None:
    import outside  # of Linux

    with namespace.run(aiotun.Device, name="t0") as device:
        assert repr(device) == "<Device tun t0 open>"
        namespace.run(outside.delete, "t0")
        assert repr(device) == "<Device tun gone>"


def test_a_forgotten_device_is_closed_with_a_warning(told_as: ToldAs) -> None:
    near, far = memory_devices()
    far.close()
    queue = near.queue
    with told_as("unclosed device"):
        del near
        gc.collect()
    with pytest.raises(aiotun.ClosedError):
        queue.read()


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_device_is_neither_copied_nor_pickled(again: Callable[[object], object]) -> None:
    """A copy that is forgotten would close it."""
    near, far = memory_devices()
    with near, far:
        with pytest.raises(TypeError, match="MemoryDevice cannot be copied or pickled"):
            again(near)
        gc.collect()
        far.send(packet())
        assert near.recv(timeout=1) == packet()


def test_a_memory_pair_has_no_descriptor() -> None:
    near, far = memory_devices()
    with near, far:
        with pytest.raises(aiotun.UnsupportedError, match="no file descriptor"):
            near.fileno()
        with pytest.raises(aiotun.UnsupportedError, match="no file descriptor"):
            near.interface.events().fileno()
        assert near.name != far.name


KERNEL_ONLY: dict[str, Callable[[aiotun.Device], object]] = {
    "mtu_v6": lambda device: device.mtu_v6,
    "set mtu_v6": lambda device: setattr(device, "mtu_v6", 1400),
    "set mac": lambda device: setattr(device, "mac", "02:00:00:00:00:01"),
    "set tx_queue_len": lambda device: setattr(device, "tx_queue_len", 1000),
    "set carrier": lambda device: setattr(device, "carrier", True),
    "set persistent": lambda device: setattr(device, "persistent", True),
    "set owner": lambda device: setattr(device, "owner", 0),
    "set group": lambda device: setattr(device, "group", 0),
    "broadcast": lambda device: device.broadcast,
    "set broadcast": lambda device: setattr(device, "broadcast", None),
    "routes": aiotun.Device.routes,
    "add_route": lambda device: device.add_route("10.8.0.0/16"),
    "remove_route": lambda device: device.remove_route("10.8.0.0/16"),
    "open_queue": aiotun.Device.open_queue,
}


@pytest.mark.parametrize("use", KERNEL_ONLY.values(), ids=KERNEL_ONLY)
def test_a_memory_pair_has_no_kernel(use: Callable[[aiotun.Device], object]) -> None:
    near, far = memory_devices(layer="tap")
    with near, far, pytest.raises(aiotun.UnsupportedError, match="with this kind of device"):
        use(near)


def test_a_memory_pair_has_no_descriptor_to_give_away() -> None:
    near, far = memory_devices()
    with far, near, pytest.raises(aiotun.UnsupportedError, match="no file descriptor"):
        near.detach()


@pytest.mark.requires("tun", "netns")
def test_a_malformed_name_opens_nothing(namespace: Namespace) -> None:
    with pytest.raises(aiotun.errors.NameInvalidError, match="15 are possible"):
        namespace.run(aiotun.Device, name="much-too-long-name")
    with pytest.raises(aiotun.ConfigError, match="both given"):
        aiotun.Device(config=aiotun.DeviceConfig(), name="x")


@pytest.mark.requires("tun", "netns")
def test_a_killed_process_leaves_no_interface(namespace: Namespace) -> None:
    program = (
        "import aiotun, time; device = aiotun.Device(name='gone0');"
        "print('open', flush=True); time.sleep(60)"
    )
    process = namespace.run(
        subprocess.Popen, [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.read(4) == "open"
        assert "gone0" in dict(namespace.run(socket.if_nameindex)).values()
        process.kill()
        process.wait()
    wait_until(lambda: "gone0" not in dict(namespace.run(socket.if_nameindex)).values())
