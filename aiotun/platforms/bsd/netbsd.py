"""NetBSD: tun(4) by numbered nodes, tap(4) by a node that clones (sys/net/if_tun.c, if_tap.c)."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

from contextlib import ExitStack, suppress

from ...config import DeviceConfig
from .base import Control, System
from .headers import netbsd
from .headers.common import AF_LINK, IFF_MULTICAST, IFF_POINTOPOINT, sockaddr, sockaddr_in
from .queue import BsdQueue

__all__ = ["NetBSD"]


class NetBSD(System):
    name = "NetBSD"
    headers = netbsd
    interface_list = netbsd.NET_RT_IFLIST
    link_kind = netbsd.RTM_IFINFO
    link_message = netbsd.if_msghdr
    tun_mtu = (576, 1500)
    tap_mtu = (46, 9000)
    names_routes_by_index = False
    wants_peer = False
    counts_present_addresses = True
    overflow_option = netbsd.SO_RERROR

    def open_queue(self, config: DeviceConfig, undo: ExitStack) -> BsdQueue:
        if config.layer == "tap":
            return self._open_tap(config, undo)
        fd, name, found = self.open_unit(config, create=False)
        queue = BsdQueue(self, fd, "tun", stays=True, found=found)
        undo.callback(queue.close)
        queue.index = self.kernel.index(name)
        with suppress(OSError):  # EBUSY: it is up, as somebody left it
            self.set_int(fd, netbsd.TUNSIFMODE, IFF_POINTOPOINT | IFF_MULTICAST)
        self.set_int(fd, netbsd.TUNSIFHEAD, 1)
        return queue

    def _open_tap(self, config: DeviceConfig, undo: ExitStack) -> BsdQueue:
        """One of a name, and one that is to stay, is made first; any other is cloned."""
        cloned = config.name in (None, "tap%d") and not config.persistent
        if cloned:
            fd, found = self.open_node("/dev/tap", "tap"), False
        else:
            fd, name, found = self.open_unit(config, create=True)
        queue = BsdQueue(self, fd, "tap", stays=not cloned, found=found)
        undo.callback(queue.close)
        if cloned:
            request = netbsd.ifreq()
            self.kernel.ioctl(fd, netbsd.TAPGIFNAME, request)
            name = bytes(request.ifr_name).decode()
        queue.index = self.kernel.index(name)
        return queue

    def set_mac(self, control: Control, name: str, mac: bytes) -> None:
        """The address is a plain sockaddr: of a sockaddr_dl the kernel takes the wrong bytes."""
        request = netbsd.ifaliasreq(ifra_name=name.encode())
        address = sockaddr(16, AF_LINK)
        address.sa_data[: len(mac)] = mac
        request.ifra_addr = sockaddr_in.from_buffer_copy(address)
        control.call(netbsd.SIOCSIFPHYADDR, request)
