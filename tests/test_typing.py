"""Small programs of users' own pass `mypy --strict`, one for each way to use the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

IMPORTS = """import asyncio
import socket
from typing import Any

import aiotun
from aiotun import codecs
"""

PROGRAMS = {
    "protocol": """
        class Echo(aiotun.PacketProtocol):
            def connection_made(self, transport: aiotun.PacketTransport) -> None:
                self.transport = transport
                print(transport.name.upper(), transport.mtu + 1, transport.device.index)

            def packet_received(self, packet: bytes) -> None:
                self.transport.write(packet)

            def pause_writing(self) -> None:
                self.transport.pause_reading()

            def connection_lost(self, exc: Exception | None) -> None:
                print(exc)

        async def main() -> None:
            transport, protocol = await aiotun.create_device_endpoint(Echo, name="aio0", mtu=1400)
            async with transport:
                protocol.transport.writelines([b"packet"])
                transport.set_protocol(Echo())
                await transport.wait_closed()
    """,
    "super-packets": """
        class Forward(aiotun.PacketProtocol):
            other: aiotun.PacketTransport

            def super_packets_received(self, packets: list[aiotun.SuperPacket]) -> None:
                for packet in packets:
                    self.other.write_super(packet)
    """,
    "stream": """
        async def main() -> None:
            async with aiotun.open_device(addresses=["10.9.0.1/24"]) as tun:
                async for packet in tun:
                    await tun.send(packet[::-1])
                packets: list[bytes] = await tun.recv_many()
                await tun.send_many(packets)
    """,
    "without a loop": """
        with aiotun.Device(addresses=["10.9.0.1/24"]) as device, aiotun.Interrupt() as interrupt:
            packet: bytes = device.recv(timeout=1.0, interrupt=interrupt)
            device.send(packet)
            device.logger.info("%d bytes", len(packet))
    """,
    "framed": """
        class Number(codecs.PacketCodec[int]):
            def encode(self, item: int) -> bytes:
                return item.to_bytes(20, "big")

            def decode(self, packet: bytes) -> int:
                return int.from_bytes(packet, "big")

        async def handle(framed: aiotun.Framed[bytes]) -> None:
            async for item in framed:
                await framed.send(item)

        async def main() -> None:
            codec = codecs.LengthPrefixed(2)
            async with await aiotun.start_framed_server(handle, codec, "::", 1) as server:
                await server.serve_forever()
            async with await aiotun.open_framed_connection(codec, "::1", 1) as framed:
                tun = await aiotun.open_device()
                await aiotun.relay(tun, framed)
                numbers = aiotun.Framed(tun, Number())
                await numbers.send(1 + await numbers.recv())
    """,
    "relay": """
        def wanted(packet: aiotun.SuperPacket) -> bool:
            return len(packet.packet) > 100

        async def main() -> None:
            async with aiotun.open_device() as a, aiotun.open_device() as b:
                await aiotun.relay(a, b, filter=wanted)
    """,
    "UDP": """
        class Server(aiotun.UdpProtocol):
            def connection_made(self, transport: aiotun.UdpTransport) -> None:
                self.transport = transport
                print(transport.local_addr[1] + 1, transport.socket.fileno())

            def datagrams_received(self, datagrams: list[aiotun.Datagram]) -> None:
                for data, addr, local, ecn in datagrams:
                    self.transport.sendto(data, addr, local=local, ecn=ecn)

        async def main() -> None:
            transport, server = await aiotun.create_udp_endpoint(Server, ("::", 0))
            async with transport:
                server.transport.sendto_many([b"1"], ("::1", 9))
    """,
    "UDP, a plain protocol": """
        class Plain(asyncio.DatagramProtocol):
            answered = 0

            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, addr: Any) -> None:
                self.transport.sendto(data, addr)

        async def main() -> None:
            transport, protocol = await aiotun.create_udp_endpoint(Plain, ("::", 0))
            print(transport.local_addr, protocol.answered + 1)
    """,
    "from a callback": """
        def callback(device: aiotun.Device) -> aiotun.PacketTransport:
            transport, protocol = aiotun.attach_device(aiotun.PacketProtocol, device)
            return transport
    """,
    "a descriptor as a stream": """
        async def main() -> None:
            async with await aiotun.open_framed_fd(codecs.LengthPrefixed(2), 3) as framed:
                await framed.send(await framed.recv())
    """,
    "handed over": """
        def hand_over(sock: socket.socket, device: aiotun.Device) -> aiotun.Device:
            aiotun.handover.send_device(sock, device)
            return aiotun.handover.receive_device(sock, framing="none", mtu=1400)
    """,
    "in memory": """
        near, far = aiotun.testing.memory_devices()
        near.interface.delete()
        devices: list[aiotun.Device] = [near, far]
    """,
    "offload": """
        from aiotun.offload import GROTable, checksum, gso_split

        frames: list[bytes] = GROTable(layer="tun").coalesce([b"packet"])
        print(checksum(b"data") + 1, gso_split(frames[0])[0].hex())
    """,
}

WRONG = {
    "a protocol of another kind": """
        async def main() -> None:
            await aiotun.create_udp_endpoint(aiotun.PacketProtocol, ("::", 0))
    """,
    "a keyword that is none": """
        aiotun.Device(adresses=["10.9.0.1/24"])
    """,
}


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What mypy says about each program; nothing if it is content. One run for all."""
    folder = tmp_path_factory.mktemp("programs")
    names: dict[str, str] = {}
    for number, (name, lines) in enumerate({**PROGRAMS, **WRONG}.items()):
        body = "\n".join(line.removeprefix("        ") for line in lines.splitlines())
        path = folder / f"program{number}.py"
        path.write_text(f"{IMPORTS}{body}\n")
        names[path.name] = name
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(folder)]
    root = Path(__file__).parents[1]
    output = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout
    said = dict.fromkeys(names.values(), "")
    for line in output.splitlines():
        program, *_ = line.split(".py:")  # with a drive's colon, maybe
        said[names[f"{Path(program).name}.py"]] += line + "\n"
    return said


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_passes(checked: dict[str, str], name: str) -> None:
    assert checked[name] == ""


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_found(checked: dict[str, str], name: str) -> None:
    assert "error:" in checked[name]
