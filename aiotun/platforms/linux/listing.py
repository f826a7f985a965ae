"""All TUN and TAP devices of a network namespace, whoever made them."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

from typing import NamedTuple

from ...config import Layer
from ...interfaces import InterfaceStatistics
from .netlink import NetlinkSocket
from .rtnetlink.links import (
    RTM_GETLINK,
    decode_layer,
    decode_link,
    decode_statistics,
    encode_link,
)
from .rtnetlink.messages import NLM_F_DUMP

__all__ = ["Listed", "list_devices"]


class Listed(NamedTuple):
    name: str
    layer: Layer
    up: bool
    statistics: InterfaceStatistics


def list_devices(netlink: NetlinkSocket) -> list[Listed]:
    """By name. Raises `OSError`."""
    found = []
    for body in netlink.request(RTM_GETLINK, encode_link(), NLM_F_DUMP):
        link, layer = decode_link(body), decode_layer(body)
        if link is not None and layer is not None:
            found.append(Listed(link.name, layer, link.up, decode_statistics(body)))
    return sorted(found, key=lambda each: each.name)
