"""The server of the phones' apps: a TUN, and TLS to the client that came last.

    sudo python -m examples.phones.server certificates

It makes the certificates that are not there yet (as `examples.tls_vpn` does); the app gets
ca.pem. From the server `ping 10.9.0.2` reaches the phone. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiotun
from examples.phones.python.vpn import FRAMES
from examples.tls_vpn.certificates import SERVER, make_certificates


def tls(folder: Path) -> ssl.SSLContext:
    make_certificates(folder, [])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / f"{SERVER}.pem")
    return context


async def serve(tun: aiotun.PacketStream, **options: Any) -> aiotun.FramedServer[bytes]:
    """Listen as `aiotun.start_framed_server` does, and pass the clients' packets on."""
    last: asyncio.Task[Any] | None = None

    async def handle(client: aiotun.Framed[bytes]) -> None:
        nonlocal last
        while last is not None and not last.done():  # the phone comes from another network
            last.cancel()
            await asyncio.wait([last])
        last = asyncio.current_task()
        await aiotun.relay(tun, client)

    return await aiotun.start_framed_server(handle, FRAMES, **options)


async def main(folder: Path, address: str, port: int) -> None:
    async with (
        aiotun.open_device(addresses=[address], mtu=1400) as tun,
        await serve(tun, host="::", port=port, ssl=tls(folder)) as server,
    ):
        print(f"{tun.device.name} is {address}; clients come to port {port}")
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--address", default="10.9.0.1/24")
    parser.add_argument("--port", type=int, default=4433)
    arguments = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(main(arguments.folder, arguments.address, arguments.port))
