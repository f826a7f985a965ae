"""On Python for Windows: packets from one device of the stand-in to another, and back."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

import aiotun

sys.path.insert(0, "tests/support")


async def main() -> None:
    if sys.platform == "win32":
        from standin import configured, open_standin

        with open_standin():
            ends = [
                await aiotun.create_device_endpoint(
                    aiotun.PacketProtocol, **configured(name=f"end{number}")
                )
                for number in range(2)
            ]
            first, second = (transport for transport, _ in ends)
            print(type(asyncio.get_running_loop()).__name__, first, second, flush=True)
            with suppress(aiotun.TunError):
                await aiotun.relay(first, second)


if __name__ == "__main__":
    asyncio.run(main())
