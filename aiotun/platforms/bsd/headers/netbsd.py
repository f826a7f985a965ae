"""NetBSD 11, and before it what 11 still has."""

from __future__ import annotations

from ctypes import (
    Structure,
    Union,
    c_int,
    c_int64,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)

from .common import IOR, IOW, IOWR, msghdr, name_bytes, sockaddr, sockaddr_in, sockaddr_in6

# sys/socket.h

AF_INET6 = 24
AF_ROUTE = 34
SO_RERROR = 0x4000


class mmsghdr(Structure):
    _fields_ = (("msg_hdr", msghdr), ("msg_len", c_uint32))


# netinet/in.h, netinet6/in6.h: control messages

IP_RECVDSTADDR = 7
IP_SENDSRCADDR = 7
IPV6_RECVPKTINFO = 36
IPV6_RECVTCLASS = 57
IPV6_TCLASS = 61

# net/if.h

LINK_STATE_DOWN = 1


class _ifr_ifru(Union):
    _fields_ = (
        ("ifr_addr", sockaddr),
        ("ifr_flags", c_uint16),
        ("ifr_mtu", c_int),
        ("ifr_data", c_void_p),
        ("_space", c_uint8 * 128),
    )


class ifreq(Structure):
    _anonymous_ = ("ifr_ifru",)
    _fields_ = (("ifr_name", name_bytes), ("ifr_ifru", _ifr_ifru))


class ifaliasreq(Structure):
    _fields_ = (
        ("ifra_name", name_bytes),
        ("ifra_addr", sockaddr_in),
        ("ifra_broadaddr", sockaddr_in),
        ("ifra_mask", sockaddr_in),
    )


class sockaddr_dl(Structure):
    _fields_ = (
        ("sdl_len", c_uint8),
        ("sdl_family", c_uint8),
        ("sdl_index", c_uint16),
        ("sdl_type", c_uint8),
        ("sdl_nlen", c_uint8),
        ("sdl_alen", c_uint8),
        ("sdl_slen", c_uint8),
        ("sdl_data", c_uint8 * 24),
    )


class if_data(Structure):
    _fields_ = (
        ("ifi_type", c_uint8),
        ("ifi_addrlen", c_uint8),
        ("ifi_hdrlen", c_uint8),
        ("ifi_link_state", c_int),
        ("ifi_mtu", c_uint64),
        ("ifi_metric", c_uint64),
        ("ifi_baudrate", c_uint64),
        ("ifi_ipackets", c_uint64),
        ("ifi_ierrors", c_uint64),
        ("ifi_opackets", c_uint64),
        ("ifi_oerrors", c_uint64),
        ("ifi_collisions", c_uint64),
        ("ifi_ibytes", c_uint64),
        ("ifi_obytes", c_uint64),
        ("ifi_imcasts", c_uint64),
        ("ifi_omcasts", c_uint64),
        ("ifi_iqdrops", c_uint64),
        ("_rest", c_uint64 * 3),
    )


# sys/sockio.h

SIOCIFCREATE = IOW("i", 122, ifreq)
SIOCIFDESTROY = IOW("i", 121, ifreq)
SIOCGIFFLAGS = IOWR("i", 17, ifreq)
SIOCSIFFLAGS = IOW("i", 16, ifreq)
SIOCSIFMTU = IOW("i", 127, ifreq)
SIOCAIFADDR = IOW("i", 26, ifaliasreq)
SIOCDIFADDR = IOW("i", 25, ifreq)
SIOCSIFPHYADDR = IOW("i", 70, ifaliasreq)

# netinet6/in6_var.h, netinet6/nd6.h

ND6_INFINITE_LIFETIME = 0xFFFF_FFFF
ND6_IFF_IFDISABLED = 0x8
ND6_IFF_AUTO_LINKLOCAL = 0x20


class in6_addrlifetime(Structure):
    _fields_ = (
        ("ia6t_expire", c_int64),
        ("ia6t_preferred", c_int64),
        ("ia6t_vltime", c_uint32),
        ("ia6t_pltime", c_uint32),
    )


class in6_aliasreq(Structure):
    _fields_ = (
        ("ifra_name", name_bytes),
        ("ifra_addr", sockaddr_in6),
        ("ifra_dstaddr", sockaddr_in6),
        ("ifra_prefixmask", sockaddr_in6),
        ("ifra_flags", c_int),
        ("ifra_lifetime", in6_addrlifetime),
    )


class _in6_ifru(Union):
    _fields_ = (("ifr_addr", sockaddr_in6), ("_stats", c_uint64 * 34))


class in6_ifreq(Structure):
    _anonymous_ = ("ifr_ifru",)
    _fields_ = (("ifr_name", name_bytes), ("ifr_ifru", _in6_ifru))


class nd_ifinfo(Structure):
    _fields_ = (
        ("chlim", c_uint8),
        ("basereachable", c_uint32),
        ("retrans", c_uint32),
        ("flags", c_uint32),
    )


class in6_ndireq(Structure):
    _fields_ = (
        ("ifname", name_bytes),
        ("ndi", nd_ifinfo),
    )


SIOCAIFADDR_IN6 = IOW("i", 107, in6_aliasreq)
SIOCDIFADDR_IN6 = IOW("i", 25, in6_ifreq)
SIOCGIFINFO_IN6 = IOWR("i", 113, in6_ndireq)
SIOCSIFINFO_FLAGS = IOWR("i", 115, in6_ndireq)

# net/route.h, sys/sysctl.h

NET_RT_IFLIST = 6
RTAX_MAX = 9
RTM_VERSION = 4
RTM_NEWADDR = 22
RTM_DELADDR = 23
RTM_IFINFO = 20
RTM_IFANNOUNCE = 16


class rt_msghdr(Structure):
    _fields_ = (
        ("rtm_msglen", c_uint16),
        ("rtm_version", c_uint8),
        ("rtm_type", c_uint8),
        ("rtm_index", c_uint16),
        ("rtm_flags", c_int),
        ("rtm_addrs", c_int),
        ("rtm_pid", c_int),
        ("rtm_seq", c_int),
        ("rtm_errno", c_int),
        ("_use", c_int),
        ("_inits", c_int),
        ("_rmx", c_uint64 * 10),
    )


class if_msghdr(Structure):
    _fields_ = (
        ("ifm_msglen", c_uint16),
        ("ifm_version", c_uint8),
        ("ifm_type", c_uint8),
        ("ifm_addrs", c_int),
        ("ifm_flags", c_int),
        ("ifm_index", c_uint16),
        ("_spare", c_uint16),
        ("ifm_data", if_data),
    )


class ifa_msghdr(Structure):
    _fields_ = (
        ("ifam_msglen", c_uint16),
        ("ifam_version", c_uint8),
        ("ifam_type", c_uint8),
        ("ifam_index", c_uint16),
        ("ifam_flags", c_int),
        ("ifam_addrs", c_int),
        ("ifam_pid", c_int),
        ("ifam_addrflags", c_int),
        ("ifam_metric", c_int),
        ("_align", c_int),
    )


class if_announcemsghdr(Structure):
    _fields_ = (
        ("ifan_msglen", c_uint16),
        ("ifan_version", c_uint8),
        ("ifan_type", c_uint8),
        ("ifan_index", c_uint16),
        ("ifan_name", name_bytes),
        ("ifan_what", c_uint16),
    )


# net/if_tun.h, net/if_tap.h

TUNSIFMODE = IOW("t", 88, c_int)
TUNSIFHEAD = IOW("t", 66, c_int)
TAPGIFNAME = IOR("e", 0, ifreq)
