"""OpenBSD: tun(4) and tap(4) by numbered nodes (sys/net/if_tun.c)."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import errno
from contextlib import ExitStack
from ctypes import c_uint32

from ...config import DeviceConfig
from ...errors import UnsupportedError
from .base import System
from .headers import openbsd
from .queue import BsdQueue
from .tun_header import CAPABILITIES, TunHeaderQueue

__all__ = ["OpenBSD"]


class OpenBSD(System):
    name = "OpenBSD"
    headers = openbsd
    interface_list = openbsd.NET_RT_IFLIST
    link_kind = openbsd.RTM_IFINFO
    link_message = openbsd.if_msghdr
    gone = frozenset({errno.ENXIO, errno.EIO})  # the descriptor is revoked
    tun_mtu = (68, openbsd.TUNMRU)
    tap_mtu = (68, openbsd.TUNMRU)
    names_routes_by_index = False
    wants_peer = False

    def open_queue(self, config: DeviceConfig, undo: ExitStack) -> BsdQueue:
        """What opening the node makes, the close destroys; what was made before it stays."""
        create = bool(config.persistent)
        fd, name, found = self.open_unit(config, create=create)
        wanted = config.openbsd is not None and config.openbsd.offload
        kind = TunHeaderQueue if wanted else BsdQueue
        queue = kind(self, fd, config.layer, stays=found or create, found=found)
        undo.callback(queue.close)
        queue.index = self.kernel.index(name)
        if wanted:
            self._set_capabilities(fd)
        return queue

    def _set_capabilities(self, fd: int) -> None:
        try:
            self.kernel.ioctl(fd, openbsd.TUNSCAP, c_uint32(CAPABILITIES))
        except OSError as exc:
            if exc.errno != errno.ENOTTY:
                raise
            raise UnsupportedError(
                errno.EOPNOTSUPP,
                "this kernel hands out no super-packets: OpenBSD 7.7 is the first that does",
                remedies=("leave offload=True out of OpenBSDOptions",),
            ) from exc
