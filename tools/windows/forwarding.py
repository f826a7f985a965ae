"""On Python for Windows: packets from one device of the stand-ins to another, and back.

    python -m tools.windows.forwarding tun|tap

The other sides of the devices are UDP sockets, to the ports from STANDIN_PORT on.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import sys
import threading
from contextlib import ExitStack, suppress
from typing import Any

import aiotun

sys.path.insert(0, "tests/support")


async def main(layer: Any) -> None:
    if sys.platform == "win32":
        from standin import configured, open_standin
        from standin_tap import open_tap_standin

        with ExitStack() as stack:
            standin = stack.enter_context(open_standin())
            if layer == "tap":  # the rings have their sockets by themselves
                driver = stack.enter_context(open_tap_standin(standin))
            ends = []
            for number in range(2):
                if layer == "tap":
                    far = driver.announce(f"Ethernet {number}")
                settings = configured(name=f"end{number}", layer=layer)
                ends.append(await aiotun.create_device_endpoint(aiotun.PacketProtocol, **settings))
                if layer == "tap":
                    threading.Thread(target=pump, args=(far, number), daemon=True).start()
            first, second = (transport for transport, _ in ends)
            print(type(asyncio.get_running_loop()).__name__, first, second, flush=True)
            with suppress(aiotun.TunError):
                await aiotun.relay(first, second)


def pump(far: Any, number: int) -> None:
    """Between a `FarTap` and a socket: each datagram is a frame.

    The first one, which is empty, says where we are.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.connect(("127.0.0.1", int(os.environ["STANDIN_PORT"]) + number))
        sock.setblocking(False)
        sock.send(b"")
        while True:
            while frame := far.poll():
                sock.send(frame)
            if select.select([sock], [], [], 0.0005)[0]:
                with suppress(BlockingIOError):
                    while True:
                        far.push(sock.recv(1 << 16))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
