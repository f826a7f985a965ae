"""forward A B: two TUN devices, what comes out of one goes into the other.

Over asyncssh's TUN transport, which lies beneath its SSH tunnels: a protocol
whose `data_received` gets one packet, a transport whose `write` sends one. No
SSH, hence no encryption, is in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from asyncssh.tuntap import SSH_TUN_MODE_POINTTOPOINT, SSHTunTapTransport, create_tuntap


class Forwarder(asyncio.Protocol):
    other: SSHTunTapTransport

    def data_received(self, data: bytes) -> None:
        # A failed write costs its packet, as everywhere: the other interface may be down.
        with contextlib.suppress(OSError):
            self.other.write(data)


def unit(name: str) -> int:
    """asyncssh numbers its devices: unit 0 is tun0."""
    return int(name.removeprefix("tun"))


async def main() -> None:
    name_a, name_b = sys.argv[1:]
    from_a, from_b = Forwarder(), Forwarder()
    a, _ = create_tuntap(lambda: from_a, SSH_TUN_MODE_POINTTOPOINT, unit(name_a))
    b, _ = create_tuntap(lambda: from_b, SSH_TUN_MODE_POINTTOPOINT, unit(name_b))
    from_a.other, from_b.other = b, a
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
