"""Real traffic between two namespaces, through a forwarder of two devices."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import outside
import pytest
from rigs import until

import aiotun
from aiotun.addresses import Address
from aiotun.testing import Namespace

pytestmark = pytest.mark.requires("tun", "netns", "ipv6")

HOSTS = {4: ("10.9.0.1", "10.9.0.2"), 6: ("fd09::1", "fd09::2")}


class EachPacket(aiotun.PacketProtocol):
    """One Python call a packet."""

    other: aiotun.PacketTransport

    def connection_made(self, transport: aiotun.PacketTransport) -> None:
        transport.pause_reading()  # until there is somewhere to forward to

    def packet_received(self, packet: bytes) -> None:
        self.other.write(packet)


class Batches(EachPacket):
    """One Python call a batch."""

    def packets_received(self, packets: list[bytes]) -> None:
        self.other.writelines(packets)


class SuperPackets(EachPacket):
    """Super-packets as they are."""

    def super_packets_received(self, packets: list[aiotun.SuperPacket]) -> None:
        for packet in packets:
            self.other.write_super(packet)


class Network:
    """Two namespaces with a device each, and packets passed on between the devices."""

    def __init__(self, **settings: Any) -> None:
        self.namespaces = Namespace(), Namespace()
        self.devices = [
            namespace.run(
                aiotun.Device,
                addresses=[f"{HOSTS[4][n]}/24", f"{HOSTS[6][n]}/64"],
                **settings,
            )
            for n, namespace in enumerate(self.namespaces)
        ]

    async def start(self, protocol: type[EachPacket]) -> None:
        ends = [
            await aiotun.create_device_endpoint(protocol, device=device) for device in self.devices
        ]
        self.transports = [transport for transport, _ in ends]
        ends[0][1].other, ends[1][1].other = self.transports[1], self.transports[0]
        for transport in self.transports:
            transport.resume_reading()

    async def run(self, host: int, *command: str, check: bool = True) -> str:
        """Run a program in a namespace while packets are passed on."""
        process = self.namespaces[host].run(
            subprocess.Popen, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        with process:
            try:
                out, err = await asyncio.to_thread(process.communicate, timeout=40)
            except BaseException:
                process.kill()
                raise
        assert not check or process.returncode == 0, out + err
        return str(out)

    async def stop(self) -> None:
        for transport in self.transports:
            transport.close()
            await transport.wait_closed()
        for namespace in self.namespaces:
            namespace.close()


@contextlib.asynccontextmanager
async def network(
    protocol: type[EachPacket] = EachPacket, **settings: Any
) -> AsyncIterator[Network]:
    network = Network(**settings)
    await network.start(protocol)
    try:
        yield network
    finally:
        await network.stop()


async def transfer(network: Network, size: int, version: int = 4, host: str = "") -> None:
    """Send random bytes over TCP from the first namespace to the second; compare the hashes."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    host = host or HOSTS[version][1]
    server = network.namespaces[1].run(socket.create_server, (host, 0), family=family)
    block = os.urandom(1 << 20)

    def send() -> str:
        digest = hashlib.blake2b()
        address = server.getsockname()[:2]
        with network.namespaces[0].run(socket.create_connection, address, 10) as connection:
            for n in range(size >> 20):
                piece = n.to_bytes(4, "big") + block[4:]
                digest.update(piece)
                connection.sendall(piece)
        return digest.hexdigest()

    def receive() -> str:
        digest = hashlib.blake2b()
        connection, _ = server.accept()
        with connection:
            connection.settimeout(10)
            buffer = bytearray(1 << 18)
            while count := connection.recv_into(buffer):
                digest.update(memoryview(buffer)[:count])
        return digest.hexdigest()

    with server:
        server.settimeout(10)
        sent, received = await asyncio.gather(asyncio.to_thread(send), asyncio.to_thread(receive))
    assert sent == received


def sound(network: Network) -> None:
    """Nothing was dropped by us or refused by the kernel."""
    for transport, device in zip(network.transports, network.devices, strict=True):
        assert transport.counters.dropped_sent == transport.counters.dropped_received == 0
        assert device.statistics().errors_sent == 0


@pytest.mark.parametrize("offload", [True, False], ids=["offload", "no offload"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [EachPacket, Batches, SuperPackets])
async def test_a_transfer_arrives_whole(
    protocol: type[EachPacket], version: int, offload: bool
) -> None:
    async with network(protocol, offload=offload) as net:
        await transfer(net, 8 << 20, version)
        sound(net)
        counters = net.transports[1].counters
        assert (counters.super_packets_sent > 0) == offload
        if offload:
            assert counters.frames_sent < 8 << 10  # of some 6000 packets


@pytest.mark.requires("ip", "uso")
@pytest.mark.parametrize("asked", [False, True])
async def test_vxlan_without_checksums_is_coalesced_on_request(asked: bool) -> None:
    async with network(Batches, udp_zero_checksum=asked) as net:
        for n, (namespace, device) in enumerate(zip(net.namespaces, net.devices, strict=True)):
            ends = "local", HOSTS[4][n], "remote", HOSTS[4][1 - n], "dev", device.name
            options = "id", "1", *ends, "dstport", "4789", "noudpcsum"
            try:
                namespace.command("ip", "link", "add", "vx0", "type", "vxlan", *options)
            except subprocess.CalledProcessError as exc:
                if "Unknown device type" not in exc.stderr:
                    raise
                pytest.skip("the kernel has no VXLAN")
            namespace.command("ip", "address", "add", f"10.8.0.{n + 1}/24", "dev", "vx0")
            namespace.command("ip", "link", "set", "vx0", "up")
        await transfer(net, 8 << 20, host="10.8.0.2")
        sound(net)
        assert bool(net.transports[1].counters.super_packets_sent) is asked


async def test_one_end_with_offload_and_one_without() -> None:
    """Super-packets are split for the device that cannot take them."""
    async with network(SuperPackets) as net:
        pass
    net = Network()
    net.devices[1].close()
    net.devices[1] = net.namespaces[1].run(
        aiotun.Device, addresses=[f"{HOSTS[4][1]}/24"], offload=False
    )
    await net.start(SuperPackets)
    try:
        await transfer(net, 8 << 20)
        sound(net)
        assert net.transports[0].counters.super_packets_received > 0
        assert net.transports[1].counters.super_packets_sent == 0
    finally:
        await net.stop()


class Watching(EachPacket):
    """Keeps up with the interface by nothing but its events."""

    def __init__(self) -> None:
        self.state: tuple[int, bool] | None = None
        self.addresses: set[Address] = set()

    def connection_made(self, transport: aiotun.PacketTransport) -> None:
        super().connection_made(transport)
        self.addresses.update(transport.get_extra_info("device").addresses())

    def device_changed(self, event: aiotun.interfaces.Event) -> None:
        if isinstance(event, aiotun.interfaces.LinkChanged):
            self.state = event.mtu, event.up
        elif isinstance(event, aiotun.interfaces.AddressAdded):
            self.addresses.add(event.address)
        elif isinstance(event, aiotun.interfaces.AddressRemoved):
            self.addresses.remove(event.address)


def change_addresses(name: str) -> None:
    for number in range(500):
        address = Address.parse(f"10.8.{number // 250}.{number % 250 + 1}/32")
        outside.add_address(name, address)
        outside.remove_address(name, address)
    outside.add_address(name, Address.parse("10.7.0.1/24"))


def change_mtu(name: str) -> None:
    for mtu in (1300, 9000, 1280, 1400):
        outside.set_mtu(name, mtu)
        time.sleep(0.02)


def set_down_and_up(name: str) -> None:
    outside.set_up(name, False)
    time.sleep(0.02)
    outside.set_up(name, True)


@pytest.mark.parametrize("change", [change_addresses, change_mtu, set_down_and_up])
async def test_a_transfer_goes_on_whatever_others_change(change: Callable[[str], None]) -> None:
    async with network(Watching) as net:
        device, transport = net.devices[0], net.transports[0]
        moving = asyncio.create_task(transfer(net, 16 << 20))
        await until(lambda: transport.counters.packets_received > 100)
        assert not moving.done()
        await asyncio.to_thread(net.namespaces[0].run, change, device.name)
        await moving
        watching = transport.get_protocol()
        assert isinstance(watching, Watching)
        await until(lambda: watching.addresses == set(device.addresses()))
        if change is change_addresses:
            assert Address.parse("10.7.0.1/24") in watching.addresses
        else:
            assert watching.state == (device.mtu, True)


@pytest.mark.interop
@pytest.mark.requires("ping")
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", ["56", "1400", "30000"])
async def test_ping_loses_nothing(version: int, size: str) -> None:
    # Of long answers few fit into ping's own buffer, should the machine stand still for a moment.
    interval = "0.04" if size == "30000" else "0.01"
    async with network() as net:
        for namespace, device in zip(net.namespaces, net.devices, strict=True):
            await asyncio.to_thread(outside.wait_for_routes, namespace, device)
        out = await net.run(
            0, "ping", "-c", "50", "-i", interval, "-W", "20", "-s", size, HOSTS[version][1]
        )
        assert re.search(r"50 packets transmitted, 50 received, 0% packet loss", out), out


async def iperf3(net: Network, *options: str) -> Any:
    server = asyncio.ensure_future(net.run(1, "iperf3", "-s", "-1"))
    await asyncio.to_thread(outside.wait_for_listener, net.namespaces[1], 5201)
    out = await net.run(0, "iperf3", "-c", HOSTS[4][1], "-J", "-t", "2", *options, check=False)
    await server
    result = json.loads(out)
    assert "error" not in result, result["error"]
    return result["end"]


@pytest.mark.interop
@pytest.mark.requires("iperf3", "ip")
@pytest.mark.parametrize("offload", [True, False], ids=["offload", "no offload"])
@pytest.mark.parametrize("protocol", [EachPacket, Batches, SuperPackets])
async def test_iperf3_tcp_both_directions_at_once(
    protocol: type[EachPacket], offload: bool
) -> None:
    async with network(protocol, offload=offload) as net:
        end = await iperf3(net, "--bidir")
        for direction in ("", "_bidir_reverse"):
            sent, received = end[f"sum_sent{direction}"], end[f"sum_received{direction}"]
            assert received["bytes"] > 1 << 20
            segments = sent["bytes"] / 1448
            # Packet by packet the loop does not keep up, and a TUN's queue before it overflows.
            dropped = sum(device.statistics().dropped_received for device in net.devices)
            assert sent["retransmits"] <= dropped + max(100, segments / 100), (direction, sent)
        for transport in net.transports:
            assert transport.counters.dropped_sent == 0


@pytest.mark.interop
@pytest.mark.requires("iperf3", "ip")
@pytest.mark.parametrize("size", ["64", "1400"])
async def test_iperf3_udp_both_directions_at_once(size: str) -> None:
    """Nothing is lost of so little that a socket holds it, should the machine pause meanwhile."""
    rate = 40 * 8 * int(size)  # for two seconds, 80 packets
    async with network() as net:
        end = await iperf3(net, "--bidir", "-u", "-b", f"{rate}", "-l", size)
        for direction in ("", "_bidir_reverse"):
            summary = end[f"sum{direction}"]
            assert summary["packets"] > 0
            assert summary["lost_packets"] == 0, summary


@pytest.mark.interop
@pytest.mark.timeout(120)
@pytest.mark.parametrize("protocol", [EachPacket, SuperPackets])
async def test_a_gibibyte_arrives_whole(protocol: type[EachPacket]) -> None:
    async with network(protocol) as net:
        await transfer(net, 1 << 30)
        sound(net)


@pytest.mark.interop
@pytest.mark.requires("tshark")
@pytest.mark.parametrize("protocol", [EachPacket, SuperPackets])
async def test_tshark_finds_no_bad_checksum(protocol: type[EachPacket], tmp_path: Any) -> None:
    """Of what a TUN without offload hands to the kernel: all checksums must be complete."""
    net = Network()
    net.devices[1].close()
    net.devices[1] = net.namespaces[1].run(
        aiotun.Device, name="plain0", addresses=[f"{HOSTS[4][1]}/24"], offload=False
    )
    await net.start(protocol)
    capture = tmp_path / "capture.pcapng"
    try:
        dumpcap = net.namespaces[1].run(
            subprocess.Popen,
            ["dumpcap", "-q", "-i", "plain0", "-c", "3000", "-w", str(capture)],
            stderr=subprocess.PIPE,
            text=True,
        )
        with dumpcap:
            assert dumpcap.stderr is not None
            while "File:" not in await asyncio.to_thread(dumpcap.stderr.readline):
                assert dumpcap.poll() is None
            await transfer(net, 8 << 20)
            await asyncio.to_thread(dumpcap.wait, 10)
    finally:
        await net.stop()
    report = await asyncio.to_thread(bad_checksums, str(capture))
    assert report == ""


def bad_checksums(capture: str) -> str:
    """The numbers of the packets in which tshark finds a wrong checksum."""
    command = ["tshark", "-r", capture, "-T", "fields", "-e", "frame.number"]
    command += [f"-o{name}.check_checksum:TRUE" for name in ("ip", "tcp")]
    command += ["-Y", "ip.dst == 10.9.0.2 && (ip.checksum.status == 0 || tcp.checksum.status == 0)"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
