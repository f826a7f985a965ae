"""MODELS of macOS and the BSDs that are connected to somewhere."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest
from models.devices import KERNELS
from models.kernel import Given, ModelKernel, Route

from aiotun.platforms.bsd.headers import common

GATEWAYS = "192.0.2.1", "fe80::1"


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> ModelKernel:
    """One with two network cards, default routes by the first, and a loopback interface."""
    kernel = KERNELS[request.param]()
    for name, *addresses in (
        ("em0", "192.0.2.7/24", "2001:db8::7/64", "fe80::7/64"),
        ("em1", "198.51.100.7/24"),
        ("lo0", "127.0.0.1/8", "::1/128"),
    ):
        made = kernel.make(name, "tap", stays=True)
        made.flags |= common.IFF_UP
        for address in map(ip_interface, addresses):
            network = address.network
            made.addresses.append(Given(address.ip, network.prefixlen, None))
            connected = network.network_address, network.prefixlen, None, made.index
            kernel.routes.append(Route(*connected, common.RTF_UP))
    flags = common.RTF_UP | common.RTF_GATEWAY | common.RTF_STATIC
    for gateway in map(ip_address, GATEWAYS):
        index = kernel.find("em0").index
        kernel.routes.append(Route(type(gateway)(0), 0, gateway, index, flags))
    return kernel
