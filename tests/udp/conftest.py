"""What tests of UDP endpoints have in common."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from udp_rigs import NARROW

from aiotun.testing.namespace import Namespace


@pytest.fixture
def python_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's own `sendmsg` is called, so that a subclass can refuse what the kernel takes."""
    if sys.platform == "win32":
        pytest.skip("Python's sockets have no sendmsg: not on Windows")
    from aiotun.udp import linux

    monkeypatch.setattr(linux, "native", None)


@pytest.fixture
def narrow(no_leaks: None) -> Iterator[Namespace]:
    """A network whose loopback carries but so many bytes."""
    with Namespace() as namespace:
        namespace.command("ip", "link", "set", "lo", "mtu", str(NARROW))
        yield namespace
