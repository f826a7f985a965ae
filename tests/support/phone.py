"""An app that gets a TUN over a socket, and runs the Python half of the examples with it.

    python phone.py android|openharmony|sandbox SOCKET MTU HOST PORT NAME CERTIFICATE

What the system refuses whoever starts it has arranged; of an Android this makes what its
Python tells of itself, and what it lacks.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any


def main(
    system: str, number: str, mtu: str, host: str, port: str, name: str, certificate: str
) -> None:
    if system == "android":
        vars(sys).update(getandroidapilevel=lambda: 30)
        modules: dict[str, Any] = sys.modules
        modules["grp"] = None
    from examples.phones.python.vpn import Vpn

    with socket.socket(fileno=int(number)) as sock:
        _, (fd,), _, _ = socket.recv_fds(sock, 1, 1)
        vpn = Vpn(host, int(port), name, Path(certificate).read_text())

        def stop() -> None:
            sock.recv(1)
            vpn.stop()

        thread = threading.Thread(target=stop)
        thread.start()
        print(f"ended: {vpn.run(fd, int(mtu))}", flush=True)
        sock.shutdown(socket.SHUT_RD)
        thread.join()
    assert ("aiotun.platforms.linux" in sys.modules) == (system != "android")
    try:
        os.fstat(fd)
    except OSError:
        return
    raise SystemExit("the descriptor is open still")


if __name__ == "__main__":
    main(*sys.argv[1:])
