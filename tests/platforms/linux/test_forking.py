"""A device in a process and in its child: each gets its own answers and its own events."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import subprocess
import textwrap

import pytest

from aiotun.testing.namespace import Namespace

pytestmark = pytest.mark.requires("tun", "netns")

PROGRAM = """
    import os, sys, threading, warnings
    import aiotun
    from aiotun.testing.namespace import Namespace

    warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads

    def use(device, index, mtus):
        for _ in range(50):
            for mtu in mtus:
                device.mtu = mtu
                assert device.name == "t0"
                assert device.index == index
        device.add_address(f"10.9.0.{mtus[0] % 256}/24")

    with Namespace() as namespace:
        with namespace.run(aiotun.Device, name="t0", ipv6_quiet=True) as device:
            index = device.index
            stop = threading.Event()

            def keep_asking():
                while not stop.is_set():
                    device.is_up

            thread = threading.Thread(target=keep_asking)  # holds the lock while it is forked
            thread.start()
            child = os.fork()
            if not child:
                use(device, index, [1400, 1300])
                seen = {str(each.address) for each in device.events() if hasattr(each, "address")}
                assert "10.9.0.120/24" in seen, seen
                os._exit(0)
            use(device, index, [1290, 1500])
            stop.set()
            thread.join()
            _, status = os.waitpid(child, 0)
            seen = {str(each.address) for each in device.events() if hasattr(each, "address")}
            assert seen == {"10.9.0.120/24", "10.9.0.10/24"}, seen
            sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_fork(namespace: Namespace) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM)]
    done = namespace.run(subprocess.run, command, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
