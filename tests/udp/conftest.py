"""What tests of UDP endpoints have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from udp_rigs import NARROW

from aiotun.testing.namespace import Namespace


@pytest.fixture
def python_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's own `sendmsg` is called, so that a subclass can refuse what the kernel takes."""
    from aiotun.udp import linux

    monkeypatch.setattr(linux, "native", None)


@pytest.fixture
def narrow(no_leaks: None) -> Iterator[Namespace]:
    """A network whose loopback carries but so many bytes."""
    with Namespace() as namespace:
        namespace.command("ip", "link", "set", "lo", "mtu", str(NARROW))
        yield namespace
