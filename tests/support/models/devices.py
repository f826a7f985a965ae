"""Devices on the MODELS."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import aiotun
from aiotun.config import DeviceConfig
from aiotun.platforms.bsd.interface import open_on

from .bsds import FreeBSDKernel, NetBSDKernel, OpenBSDKernel
from .darwin import DarwinKernel
from .kernel import ModelKernel

KERNELS: dict[str, Callable[[], ModelKernel]] = {
    "freebsd14": functools.partial(FreeBSDKernel, transient=False),
    "freebsd15": FreeBSDKernel,
    "netbsd": NetBSDKernel,
    "openbsd": OpenBSDKernel,
    "darwin": DarwinKernel,
}

Opener = Callable[..., aiotun.Device]


def open_on_model(kernel: ModelKernel, **settings: Any) -> aiotun.Device:
    config = DeviceConfig(**settings)
    return aiotun.Device.from_parts(*open_on(kernel.system(kernel), config))
