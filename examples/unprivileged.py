"""Attaches to a persistent interface that an administrator made, as a user who may do no more.

    sudo ip tuntap add dev vpn0 mode tun user $USER
    sudo ip address add 10.9.0.1/24 dev vpn0
    sudo ip link set vpn0 up
    python examples/unprivileged.py vpn0
    ping 10.9.0.42          # from another terminal

With --make it plays the administrator first (as root), then becomes the user nobody.
"""

from __future__ import annotations

import argparse
import os
import pwd
import signal

import aiotun
from aiotun.testing.ping import echo_reply


def make(name: str, user: pwd.struct_passwd) -> None:
    """What the administrator does: an interface with two addresses that stays, for one user."""
    aiotun.Device(
        name=name, addresses=["10.9.0.1/24", "fd09::1/64"], persistent=True, owner=user.pw_uid
    ).close()


def become(user: pwd.struct_passwd) -> None:
    """Give up root for good: first the groups, then the user, which cannot be undone."""
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def main(name: str) -> None:
    with aiotun.Device(name=name) as device:
        signal.signal(signal.SIGTERM, lambda number, frame: device.shutdown())
        signal.signal(signal.SIGINT, lambda number, frame: device.shutdown())
        addresses = ", ".join(map(str, device.addresses()))
        print(f"user {os.geteuid()} answers pings on {device.name} around {addresses}")
        for packet in device:
            reply = echo_reply(packet)
            if reply is not None:
                device.send(reply)
        print(f"{device.counters.packets_sent} pings were answered; {name} stays")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--make", action="store_true", help="make the interface first, as root")
    arguments = parser.parse_args()
    if arguments.make:
        nobody = pwd.getpwnam("nobody")
        make(arguments.name, nobody)
        become(nobody)
    main(arguments.name)
