"""On Python for Windows: flows of a device of the stand-in, and another one for connections.

    python -m tools.windows.echoing

The other sides of the devices are UDP sockets, to the ports from STANDIN_PORT on: of the first one
it leads to the kernel whose sockets wine has, of the second to the clients.
"""

from __future__ import annotations

import asyncio
import sys

import aiotun
from aiotun.flows import DatagramStream

from .traffic import ADDRESSES

sys.path.insert(0, "tests/support")


async def answer(datagrams: DatagramStream) -> None:
    async for data in datagrams:
        datagrams.send(data[::-1])


async def main() -> None:
    if sys.platform == "win32":
        from flow_rigs import echo
        from standin import configured, open_standin

        with open_standin():
            device = aiotun.Device(**configured(name="end0", addresses=ADDRESSES[0]))
            clients = aiotun.Device(**configured(name="end1"))
            async with aiotun.start_flow_server(
                echo, datagrams=answer, device=device, clients=clients
            ):
                await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
