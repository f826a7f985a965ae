"""What a child process (fork(2)) has to itself: interrupts, locks, and who waits."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")

HEAD = """
    import os, signal, socket, sys, threading, time, warnings
    import aiotun
    from aiotun.testing import memory_devices

    warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads

    def in_child(act):
        child = os.fork()
        if not child:
            signal.alarm(10)
            act()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0, status

    def wait_for(condition):
        while not condition():
            time.sleep(0.01)
"""

INTERRUPT = """
    with aiotun.Interrupt() as interrupt, aiotun.Interrupt() as was_set, aiotun.Interrupt() as gone:
        was_set.set("a value")
        gone.close()
        number = interrupt.fileno()

        def child():
            assert (was_set.is_set(), was_set.value) == (True, "a value")
            was_set.clear()
            assert not interrupt.is_set()
            interrupt.set("of the child")
            assert (interrupt.is_set(), interrupt.fileno()) == (True, number)
            assert gone.fileno() == -1

        in_child(child)
        assert (was_set.is_set(), was_set.value) == (True, "a value")
        assert (interrupt.is_set(), interrupt.value) == (False, None)
        interrupt.set()
        in_child(interrupt.clear)
        assert interrupt.is_set()
"""

DEVICE = """
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    device = aiotun.Device.from_fd(near.detach(), framing="none")
    received = []
    over = threading.Event()

    def send():
        device._sending.take()
        over.wait()
        device._sending.give_back()

    threads = [
        threading.Thread(target=lambda: received.append(device.recv())),
        threading.Thread(target=send),
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: device._readers._interrupt and device._sending.others)

    def child():
        device.send(b"of the child")
        device.close()

    with far:
        in_child(child)
        assert far.recv(100) == b"of the child"
        assert not device._readers._interrupt.is_set()  # the thread that waits sleeps on
        far.send(b"of the parent")
        wait_for(lambda: received == [b"of the parent"])
        over.set()
        device.close()
"""

MEMORY = """
    near, far = memory_devices()
    threading.Thread(target=near.queue._pair.lock.acquire, daemon=True).start()
    wait_for(lambda: not near.queue._pair.lock.acquire(blocking=False))

    def child():
        near.send(bytes([0x45]) + bytes(30))
        assert far.recv(timeout=1)[0] == 0x45
        near.close()
        far.close()

    in_child(child)
    os._exit(0)  # here the lock is held for ever
"""


@pytest.mark.parametrize(
    "program", [INTERRUPT, DEVICE, MEMORY], ids=["an interrupt", "a device", "in memory"]
)
def test_what_parent_and_child_do_not_share(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HEAD) + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
