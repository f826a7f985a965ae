"""Devices on the MODELS of FreeBSD, NetBSD, OpenBSD and macOS: each test runs on all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from models.devices import KERNELS, Opener, open_on_model
from models.kernel import ModelKernel

import aiotun


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> ModelKernel:
    return KERNELS[request.param]()


@pytest.fixture
def opened(kernel: ModelKernel) -> Iterator[Opener]:
    """Opens devices on the model, and closes them."""
    devices: list[aiotun.Device] = []

    def open_device(**settings: Any) -> aiotun.Device:
        devices.append(open_on_model(kernel, **settings))
        return devices[-1]

    yield open_device
    for device in devices:
        device.close()
    assert not kernel.listeners
