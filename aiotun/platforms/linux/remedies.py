"""What can be missing, and what to do about it: in errors, and in `aiotun doctor`."""

from __future__ import annotations

import errno
from typing import NamedTuple

__all__ = ["CAPABILITY", "NODE", "NODE_TROUBLES", "NO_IPV6", "Trouble"]

NODE = "/dev/net/tun"


class Trouble(NamedTuple):
    what: str
    remedies: tuple[str, ...]
    """One of these helps."""


_NO_DRIVER = Trouble(
    "the kernel has no TUN driver behind the node",
    (
        "load the driver: modprobe tun",
        "use a kernel built with CONFIG_TUN",
        f"make the node anew: rm {NODE} && mknod {NODE} c 10 200",
    ),
)

NODE_TROUBLES = {
    errno.ENOENT: Trouble(
        "there is no TUN device node",
        (
            "load the driver: modprobe tun",
            f"in a container: --device {NODE}",
            f"make the node: mkdir -p /dev/net && mknod {NODE} c 10 200",
        ),
    ),
    errno.ENODEV: _NO_DRIVER,
    errno.ENXIO: _NO_DRIVER,
    errno.ENOTTY: _NO_DRIVER,  # some other file stands in the node's place
    errno.EACCES: Trouble(
        "the TUN device node's file mode keeps this user out",
        ("run as root", f"let every user open it: chmod 0666 {NODE}"),
    ),
    errno.EPERM: Trouble(
        "a device cgroup forbids the TUN device node",
        (f"in a container: --device {NODE}", f"in a systemd unit: DeviceAllow={NODE} rw"),
    ),
}
"""By the errno of opening the node, or of the first question to it."""

CAPABILITY = Trouble(
    "CAP_NET_ADMIN is missing in this network namespace",
    (
        "run as root",
        "give the interpreter the capability: setcap cap_net_admin+ep on the python binary",
        "open an interface that root made for you: ip tuntap add NAME mode tun user YOU",
        "in a container: --cap-add NET_ADMIN",
        "to try things out: unshare -Urn",
    ),
)

NO_IPV6 = Trouble(
    "there is no IPv6 on the interface",
    (
        "allow IPv6 (sysctl net.ipv6.conf.NAME.disable_ipv6=0)",
        "give the interface an MTU of 1280 or more",
        "boot without ipv6.disable=1",
    ),
)
