"""captured_forwarder.py FILE BYTES MODE A B: forwarder.py on uvloop, with A under `aiotun.capture`,
which keeps so many bytes of each packet.

At SIGTERM it ends, and prints how many frames passed, and how many were written and lost.
"""

from __future__ import annotations

import signal
import sys

import aiotun

from .forwarder import PROTOCOLS, forward, relay, run


def main() -> None:
    file, size, mode, *names = sys.argv[1:]
    a, b = (aiotun.Device(name=name) for name in names)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    work = forward if mode in PROTOCOLS else relay
    try:
        with aiotun.capture(a, file, snap_length=int(size)) as capture:
            run(work(mode, (a, b), lambda: print("ready", flush=True)), "uvloop")
    finally:
        passed = a.counters.frames_received + a.counters.frames_sent
        print(f"{passed} passed, {capture.packets} packets captured, {capture.lost} lost")


if __name__ == "__main__":
    main()
