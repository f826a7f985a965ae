"""A device that lives in another network namespace, and what others change on it there.

    sudo ip netns add blue
    sudo python examples/namespace_events.py blue
    sudo ip netns exec blue ip address add 10.8.0.1/24 dev vpn0   # from another terminal
    sudo ip netns exec blue ip link delete vpn0                   # ends it

The program itself stays where it is: a socket that it opens is not in the namespace.
"""

from __future__ import annotations

import argparse
import asyncio

import aiotun


class Watcher(aiotun.PacketProtocol):
    def device_changed(self, event: aiotun.interfaces.Event) -> None:
        print(event)

    def connection_lost(self, exc: Exception | None) -> None:
        print(f"the end: {exc}")


async def main(namespace: str | int) -> None:
    transport, _ = await aiotun.create_device_endpoint(
        Watcher,
        name="vpn0",
        namespace=namespace,
        addresses=["10.9.0.1/24", "10.9.1.1 peer 10.9.1.2", "fd09::1/64"],
        routes=["10.10.0.0/16", "10.11.0.0/16 via 10.9.0.2"],
        ipv6_quiet=True,
    )
    device = transport.device
    print(f"{device.name} is in namespace {namespace}, with the routes:")
    for route in device.routes():
        print(f"  {route}")
    await transport.wait_closed()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("namespace", help="its name, its path, or the id of a process in it")
    namespace = parser.parse_args().namespace
    asyncio.run(main(int(namespace) if namespace.isdigit() else namespace))
