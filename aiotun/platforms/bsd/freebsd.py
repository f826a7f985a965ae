"""FreeBSD: tun(4) and tap(4), one driver (sys/net/if_tuntap.c) that clones its units."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import ctypes
import errno
import itertools
from contextlib import ExitStack, closing, suppress

from ...config import DeviceConfig, Layer
from ...errors import NameInUseError, UnsupportedError
from ...offload import NO_OFFLOAD, VirtioNetHeader
from ...offload.checksum import complete_checksum
from .base import Control, System, is_unit
from .headers import freebsd
from .headers.common import IFF_MULTICAST, IFF_POINTOPOINT
from .queue import BsdQueue

__all__ = ["FreeBSD"]


CAPABILITIES = (
    freebsd.IFCAP_TXCSUM | freebsd.IFCAP_TXCSUM_IPV6 | freebsd.IFCAP_TSO4 | freebsd.IFCAP_TSO6
)
"""What the kernel may leave to us."""


class VnetQueue(BsdQueue):
    """A TAP's queue whose frames have a virtio_net_hdr, of which super-packets are only read.

    `virtio_net_rx_csum`, which takes what is written, cuts none, and believes checksums that are
    not made yet: so they are made here.
    """

    vnet_hdr = True

    def _wrap(self, frame: bytes) -> bytes:
        header, packet = VirtioNetHeader.unpack(frame), frame[VirtioNetHeader.SIZE :]
        if header.flags & VirtioNetHeader.NEEDS_CSUM:
            packet = complete_checksum(packet, header.csum_start, header.csum_offset)
        return NO_OFFLOAD + packet


def _wants_offload(config: DeviceConfig) -> bool:
    return config.freebsd is not None and config.freebsd.offload


class FreeBSD(System):
    name = "FreeBSD"
    headers = freebsd
    interface_list = freebsd.NET_RT_IFLIST
    link_kind = freebsd.RTM_IFINFO
    link_message = freebsd.if_msghdr
    tun_mtu = (72, 65535)
    tap_mtu = (72, 65535 - 14)
    names_routes_by_index = True
    wants_peer = True
    no_dad = freebsd.IN6_IFF_NODAD
    embeds_scope = False
    overflow_option = freebsd.SO_RERROR

    def check_name(self, name: str | None, layer: Layer) -> None:
        """Any that an interface can have: it is renamed."""

    def check(self, config: DeviceConfig) -> None:
        super().check(config)
        if _wants_offload(config) and config.layer == "tun":
            raise UnsupportedError(
                errno.EOPNOTSUPP,
                "a tun of FreeBSD has no super-packets",
                remedies=("leave offload=True out of FreeBSDOptions", 'make a TAP (layer="tap")'),
            )

    def open_queue(self, config: DeviceConfig, undo: ExitStack) -> BsdQueue:
        kind, layer, name = self.kinds[config.layer], config.layer, config.name or ""
        found = False
        if name and "%" not in name:
            self.check_exclusive(name, config.exclusive)
            found = self.exists(name)
        # The node of a unit makes it, and an interface that was renamed has a node of that name.
        by_name = found or is_unit(name, kind)
        fd = self.open_node(f"/dev/{name if by_name else kind}", layer)
        offload = _wants_offload(config)
        queue = (VnetQueue if offload else BsdQueue)(self, fd, layer, stays=True, found=found)
        undo.callback(queue.close)
        request = freebsd.ifreq()
        self.kernel.ioctl(fd, freebsd.TUNGIFNAME, request)
        first = bytes(request.ifr_name).decode()
        queue.index = self.kernel.index(first)
        if not found:
            self.set_persistent(queue, False)
        if layer == "tun":
            with suppress(OSError):  # EBUSY: it is up, as somebody left it
                self.set_int(fd, freebsd.TUNSIFMODE, IFF_POINTOPOINT | IFF_MULTICAST)
            self.set_int(fd, freebsd.TUNSIFHEAD, 1)
        if offload:
            self._take_super_packets(fd, first)
        if not by_name and name not in ("", f"{kind}%d"):
            self._rename(first, name)
        return queue

    def _take_super_packets(self, fd: int, name: str) -> None:
        """The header first: it is what gives the interface these capabilities (if_tuntap.c)."""
        self.set_int(fd, freebsd.TAPSVNETHDR, VirtioNetHeader.SIZE)
        with closing(Control(self)) as control:
            request = control.request(name)
            control.call(freebsd.SIOCGIFCAP, request)
            request.ifr_reqcap = request.ifr_curcap | request.ifr_reqcap & CAPABILITIES
            control.call(freebsd.SIOCSIFCAP, request)

    def _rename(self, first: str, wanted: str) -> None:
        """To the name that is wanted, or the first of a pattern that is free."""
        with closing(Control(self)) as control:
            for number in itertools.count():
                name = wanted.replace("%d", str(number))
                try:
                    self.set_name(control, first, name)
                except OSError as exc:
                    if exc.errno != errno.EEXIST:
                        raise
                    if name == wanted:
                        raise NameInUseError(
                            exc.errno,
                            f"there is an interface {name!r} already",
                            remedies=("take another name",),
                        ) from exc
                else:
                    return

    def set_persistent(self, queue: BsdQueue, persistent: bool) -> None:
        """FreeBSD 15 destroys what is transient with the last close, after a crash too."""
        try:
            self.set_int(queue.fileno(), freebsd.TUNSTRANSIENT, not persistent)
            queue.stays = persistent
        except OSError as exc:
            if exc.errno != errno.ENOTTY:
                raise
        super().set_persistent(queue, persistent)

    def set_name(self, control: Control, name: str, new: str) -> None:
        request = control.request(name)
        buffer = ctypes.create_string_buffer(new.encode(), 16)
        request.ifr_data = ctypes.addressof(buffer)
        control.call(freebsd.SIOCSIFNAME, request)

    def node_remedies(self, path: str, layer: Layer) -> tuple[str, ...]:
        return ("load the driver: kldload if_tuntap", "sysctl net.link.tun.devfs_cloning=1")
