"""Answers pings without an event loop: calls that block, with a timeout, into one buffer.

    sudo python examples/blocking.py
    ping 10.9.0.42          # from another terminal

Ctrl-C or SIGTERM ends it: a signal handler sets an interrupt, which the call that waits reports.
"""

from __future__ import annotations

import argparse
import signal

import aiotun
from aiotun.testing.ping import echo_reply

HEADROOM = 16
"""Bytes left free before each packet: where a tunnel would put its header."""


def main(address: str, timeout: float) -> None:
    buffer = bytearray(HEADROOM + 65535)
    with aiotun.Device(addresses=address) as device, aiotun.Interrupt() as interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: interrupt.set(signal.Signals(number).name))
        print(f"{device.name}, number {device.index}, answers pings around {address}")
        while True:
            try:
                size = device.recv_into(
                    memoryview(buffer)[HEADROOM:], timeout=timeout, interrupt=interrupt
                )
            except TimeoutError:
                print(f"nothing came for {timeout} s")
                continue
            except aiotun.errors.InterruptError as exc:
                print(f"{exc.value} ended it after {device.counters.packets_received} packets")
                return
            reply = echo_reply(bytes(buffer[HEADROOM : HEADROOM + size]))
            if reply is not None:
                device.send(reply)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("address", nargs="?", default="10.9.0.1/24")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds")
    arguments = parser.parse_args()
    main(arguments.address, arguments.timeout)
