"""Try the genuine Wintun on Windows, as administrator: python -m tools.windows.genuine FOLDER

It fetches the library into the folder, as genuine/wintun.dll. Windows' own ping goes into the
device, and this program answers. It prints what was seen, and fails if an answer is missing.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import aiotun
from aiotun.testing.ping import echo_reply

from .installing import install_genuine_wintun

NETWORK = "10.231.77.1/24"
PEER = "10.231.77.2"
COUNT = 5


class Answering(aiotun.PacketProtocol):
    """Answers pings to every address."""

    def __init__(self) -> None:
        self.answered = 0
        self.transport: aiotun.PacketTransport

    def connection_made(self, transport: aiotun.PacketTransport) -> None:
        self.transport = transport

    def packet_received(self, packet: bytes) -> None:
        reply = echo_reply(packet)
        if reply is not None:
            self.answered += 1
            self.transport.write(reply)


async def main(library: Path) -> int:
    options = aiotun.options.WindowsOptions(wintun_file=str(library))
    transport, protocol = await aiotun.create_device_endpoint(
        Answering, name="aiotun-genuine", addresses=NETWORK, mtu=1400, windows=options
    )
    async with transport:
        device = transport.device
        print(device, device.mtu, *device.addresses(), *device.routes(), device.statistics())
        ping = await asyncio.to_thread(
            subprocess.run, ["ping", "-n", str(COUNT), PEER], capture_output=True, text=True
        )
        print(ping.stdout, device.counters, device.statistics(), sep="\n")
    print(f"{protocol.answered} pings were answered")
    return 0 if protocol.answered >= COUNT and not ping.returncode else 1


if __name__ == "__main__":
    if sys.platform != "win32":
        raise SystemExit("this is for Windows")
    folder = Path(sys.argv[1])
    folder.mkdir()
    install_genuine_wintun(folder)
    sys.exit(asyncio.run(main(folder / "genuine" / "wintun.dll")))
