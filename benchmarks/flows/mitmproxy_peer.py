"""mitmproxy's TUN (smoltcp, in Rust) with handlers in Python: on asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import mitmproxy_rs

from .load import ECHO, SINK
from .rows import DEVICE

CHUNK = bytes(1 << 18)


async def tcp(stream: Any) -> None:
    data = await stream.read(1 << 18)
    kind, data = data[:1], data[1:]
    try:
        if kind == SINK:
            taken = len(data)
            while data := await stream.read(1 << 18):
                taken += len(data)
            stream.write(b"%d" % taken)
        elif kind == ECHO:
            while True:
                if data:
                    stream.write(data)
                    await stream.drain()
                data = await stream.read(1 << 16)
                if not data:
                    break
        else:
            while True:
                stream.write(CHUNK)
                await stream.drain()
    except OSError:
        pass
    stream.close()


async def udp(stream: Any) -> None:
    while data := await stream.read(65535):
        stream.write(data)


async def main() -> None:
    tun = await mitmproxy_rs.tun.create_tun_interface(tcp, udp, tun_name=DEVICE)
    print("ready", flush=True)
    await tun.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
