"""Which platform's open_device is used, and what a system without one says."""

from __future__ import annotations

import errno
import sys

import pytest

from aiotun import platforms
from aiotun.config import DeviceConfig
from aiotun.errors import UnsupportedError


@pytest.mark.requires("tun")
@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_this_system() -> None:
    interface, queue = platforms.open_device(DeviceConfig(up=False))
    try:
        assert not interface.is_up
    finally:
        interface.close()
        queue.close()


def test_an_unknown_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "plan9")
    with pytest.raises(UnsupportedError, match="plan9") as caught:
        platforms.open_device(DeviceConfig())
    assert caught.value.errno == errno.EOPNOTSUPP
