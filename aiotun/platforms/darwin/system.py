"""What tells macOS from the BSDs."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno
from contextlib import ExitStack
from typing import ClassVar

from ...config import DeviceConfig, Layer
from ...errors import UnsupportedError
from ..bsd.base import Control, System
from ..bsd.headers import darwin
from ..bsd.queue import BsdQueue
from .feth import FethQueue, open_feth
from .utun import open_utun

__all__ = ["Darwin"]


class Darwin(System):
    name = "macOS"
    headers = darwin
    rounding = 4
    interface_list = darwin.NET_RT_IFLIST2
    link_kind = darwin.RTM_IFINFO2
    link_message = darwin.if_msghdr2
    kinds: ClassVar[dict[Layer, str]] = {"tun": "utun", "tap": "feth"}
    gone: ClassVar[frozenset[int]] = frozenset()  # a utun lives as its socket does
    tun_mtu = (72, 65535)
    tap_mtu = (72, 16384 - 14)
    names_routes_by_index = True
    wants_peer = True
    no_dad = darwin.IN6_IFF_NODAD

    def check(self, config: DeviceConfig) -> None:
        super().check(config)
        if config.layer == "tap" and config.darwin is not None and config.darwin.receive_many:
            raise UnsupportedError(
                errno.EOPNOTSUPP,
                "a TAP of macOS reads many frames at once anyway",
                remedies=("leave receive_many=True out of DarwinOptions",),
            )

    def open_queue(self, config: DeviceConfig, undo: ExitStack) -> BsdQueue:
        if config.layer == "tun":
            return open_utun(self, config, undo)
        return open_feth(self, config, undo)

    def set_mtu(self, control: Control, queue: BsdQueue, name: str, mtu: int) -> None:
        if isinstance(queue, FethQueue):  # both of the pair, the program's side first
            super().set_mtu(control, queue, queue.far, mtu)
        super().set_mtu(control, queue, name, mtu)
