"""A helper with privileges opens a device, and hands it to a program that has none.

    sudo python examples/hand_over.py
    ping 10.9.0.42          # from another terminal

The helper is the program's parent here, over a pair of sockets; over a named UNIX socket any
other process could ask for one. It keeps nothing of the device, and waits for the program.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pwd
import signal
import socket
import subprocess
import sys

import aiotun
from aiotun.testing.ping import echo_reply


class Pings(aiotun.PacketProtocol):
    answered = 0

    def connection_made(self, transport: aiotun.PacketTransport) -> None:
        self.transport = transport

    def packet_received(self, packet: bytes) -> None:
        reply = echo_reply(packet)
        if reply is not None:
            self.transport.write(reply)
            self.answered += 1


async def program(sock: socket.socket) -> None:
    """What needs no privileges: it takes a device, and has its packets."""
    device = await asyncio.to_thread(aiotun.handover.receive_device, sock)
    transport, pings = await aiotun.create_device_endpoint(Pings, device=device)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, transport.close)
    print(f"user {os.geteuid()} answers pings on {transport.name}")
    await transport.wait_closed()
    print(f"{pings.answered} pings were answered")


def helper(addresses: list[str], user: pwd.struct_passwd) -> int:
    """Start the program as that user, and give it a device."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, __file__, "--socket", str(theirs.fileno())]
        started = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
        )
        with aiotun.Device(addresses=addresses) as device:
            aiotun.handover.send_device(ours, device)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: started.send_signal(number))
    return started.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("addresses", nargs="*", default=["10.9.0.1/24", "fd09::1/64"])
    parser.add_argument("--user", default="nobody", help="who has to reach this Python, too")
    parser.add_argument("--socket", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.socket is None:
        raise SystemExit(helper(arguments.addresses, pwd.getpwnam(arguments.user)))
    with socket.socket(fileno=arguments.socket) as sock:
        asyncio.run(program(sock))
