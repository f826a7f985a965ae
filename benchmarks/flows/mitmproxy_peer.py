"""mitmproxy's TUN (smoltcp, in Rust) with handlers in Python: pip install mitmproxy-rs."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Any

import mitmproxy_rs

CHUNK = bytes(1 << 18)


async def tcp(stream: Any) -> None:
    data = await stream.read(1 << 18)
    kind, data = data[:1], data[1:]
    try:
        if kind == b"s":
            taken = len(data)
            while data := await stream.read(1 << 18):
                taken += len(data)
            stream.write(b"%d" % taken)
        elif kind == b"e":
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
    tun = await mitmproxy_rs.tun.create_tun_interface(tcp, udp, tun_name="flow0")
    for command in (
        "ip address add 10.9.0.1/24 dev flow0",
        "ip link set flow0 up",
        "ip route add default dev flow0",
    ):
        subprocess.run(command.split(), check=True)  # noqa: ASYNC221  (nothing runs yet)
    print("ready", flush=True)
    await tun.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
