"""sys/ioccom.h, sys/socket.h, net/if.h, net/route.h, netinet/in.h: what all four have alike."""

from __future__ import annotations

from ctypes import (
    Structure,
    c_char,
    c_int,
    c_size_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_void_p,
    sizeof,
)

# sys/ioccom.h


def IO(group: str, number: int) -> int:
    return 0x2000_0000 | ord(group) << 8 | number


def IOR(group: str, number: int, argument: type[Structure | c_int | c_uint32]) -> int:
    return 0x4000_0000 | _argument(group, number, argument)


def IOW(group: str, number: int, argument: type[Structure | c_int | c_uint32]) -> int:
    return 0x8000_0000 | _argument(group, number, argument)


def IOWR(group: str, number: int, argument: type[Structure | c_int | c_uint32]) -> int:
    return 0xC000_0000 | _argument(group, number, argument)


def _argument(group: str, number: int, argument: type[Structure | c_int | c_uint32]) -> int:
    return sizeof(argument) << 16 | ord(group) << 8 | number


# sys/socket.h, sys/sysctl.h

SOL_SOCKET = 0xFFFF
SO_RCVBUF = 0x1002
SOCK_DGRAM = 2
SOCK_RAW = 3
AF_UNSPEC = 0
AF_INET = 2
AF_LINK = 18
CTL_NET = 4
NET_RT_DUMP = 1


class sockaddr(Structure):
    _fields_ = (("sa_len", c_uint8), ("sa_family", c_uint8), ("sa_data", c_uint8 * 14))


class iovec(Structure):
    _fields_ = (("iov_base", c_void_p), ("iov_len", c_size_t))


class msghdr(Structure):
    _fields_ = (
        ("msg_name", c_void_p),
        ("msg_namelen", c_uint32),
        ("msg_iov", c_void_p),
        ("msg_iovlen", c_int),
        ("msg_control", c_void_p),
        ("msg_controllen", c_uint32),
        ("msg_flags", c_int),
    )


class cmsghdr(Structure):
    _fields_ = (("cmsg_len", c_uint32), ("cmsg_level", c_int), ("cmsg_type", c_int))


# netinet/in.h


class sockaddr_in(Structure):
    _fields_ = (
        ("sin_len", c_uint8),
        ("sin_family", c_uint8),
        ("sin_port", c_uint16),
        ("sin_addr", c_uint8 * 4),
        ("sin_zero", c_uint8 * 8),
    )


class sockaddr_in6(Structure):
    _fields_ = (
        ("sin6_len", c_uint8),
        ("sin6_family", c_uint8),
        ("sin6_port", c_uint16),
        ("sin6_flowinfo", c_uint32),
        ("sin6_addr", c_uint8 * 16),
        ("sin6_scope_id", c_uint32),
    )


class in6_pktinfo(Structure):
    _fields_ = (("ipi6_addr", c_uint8 * 16), ("ipi6_ifindex", c_uint32))


IP_TOS = 3
IPV6_PKTINFO = 46

# net/if.h

IFNAMSIZ = 16
IFF_UP = 0x1
IFF_BROADCAST = 0x2
IFF_POINTOPOINT = 0x10
IFF_RUNNING = 0x40
IFF_MULTICAST = 0x8000

# net/route.h

RTM_ADD = 1
RTM_DELETE = 2
RTM_CHANGE = 3
RTM_GET = 4
RTA_DST = 0x1
RTA_GATEWAY = 0x2
RTA_NETMASK = 0x4
RTA_IFP = 0x10
RTA_IFA = 0x20
RTA_BRD = 0x80
RTF_UP = 0x1
RTF_GATEWAY = 0x2
RTF_HOST = 0x4
RTF_REJECT = 0x8
RTF_STATIC = 0x800
RTF_BLACKHOLE = 0x1000

# net/bpf.h

BIOCIMMEDIATE = IOW("B", 112, c_uint32)
BIOCSHDRCMPLT = IOW("B", 117, c_uint32)
BIOCPROMISC = IO("B", 105)
BIOCSBLEN = IOWR("B", 102, c_uint32)


class message_head(Structure):
    """How every message of a routing socket begins; has no name in C."""

    _fields_ = (("rtm_msglen", c_uint16), ("rtm_version", c_uint8), ("rtm_type", c_uint8))


name_bytes = c_char * IFNAMSIZ
