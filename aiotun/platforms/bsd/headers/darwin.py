"""macOS, from the macOS 15 SDK on back to what it still has."""

from __future__ import annotations

from ctypes import (
    Structure,
    Union,
    c_char,
    c_int,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)

from .common import IOW, IOWR, msghdr, name_bytes, sockaddr, sockaddr_in, sockaddr_in6

# sys/socket.h, sys/sys_domain.h

AF_INET6 = 30
AF_ROUTE = 17
AF_NDRV = 27
AF_SYSTEM = 32
AF_SYS_CONTROL = 2
SYSPROTO_CONTROL = 2

# sys/socket_private.h: private, and subject to change


class msghdr_x(Structure):
    _fields_ = (*msghdr._fields_, ("msg_datalen", c_size_t))


# netinet/in.h, netinet6/in6.h: control messages

IP_PKTINFO = 26
IP_RECVTOS = 27
IPV6_RECVPKTINFO = 61
IPV6_RECVTCLASS = 35
IPV6_TCLASS = 36


class in_pktinfo(Structure):
    _fields_ = (
        ("ipi_ifindex", c_uint32),
        ("ipi_spec_dst", c_uint8 * 4),
        ("ipi_addr", c_uint8 * 4),
    )


class _ifr_ifru(Union):
    _fields_ = (
        ("ifr_addr", sockaddr),
        ("ifr_flags", c_uint16),
        ("ifr_mtu", c_int),
        ("ifr_data", c_void_p),
        ("_space", c_uint8 * 16),
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
        ("sdl_data", c_uint8 * 12),
    )


# sys/sockio.h

SIOCIFCREATE = IOWR("i", 120, ifreq)
SIOCIFDESTROY = IOW("i", 121, ifreq)
SIOCGIFFLAGS = IOWR("i", 17, ifreq)
SIOCSIFFLAGS = IOW("i", 16, ifreq)
SIOCSIFMTU = IOW("i", 52, ifreq)
SIOCAIFADDR = IOW("i", 26, ifaliasreq)
SIOCDIFADDR = IOW("i", 25, ifreq)
SIOCSIFLLADDR = IOW("i", 60, ifreq)

# netinet6/in6_var.h, netinet6/nd6.h

IN6_IFF_NODAD = 0x20
ND6_INFINITE_LIFETIME = 0xFFFF_FFFF


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


SIOCAIFADDR_IN6 = IOW("i", 26, in6_aliasreq)
SIOCDIFADDR_IN6 = IOW("i", 25, in6_ifreq)

# net/route.h, net/if_var.h, sys/sysctl.h

NET_RT_IFLIST2 = 6
RTAX_MAX = 8
RTF_IFSCOPE = 0x100_0000
RTM_VERSION = 5
RTM_NEWADDR = 12
RTM_DELADDR = 13
RTM_IFINFO = 14
RTM_IFINFO2 = 18


class if_data64(Structure):
    _fields_ = (
        ("ifi_type", c_uint8),
        ("ifi_typelen", c_uint8),
        ("ifi_physical", c_uint8),
        ("ifi_addrlen", c_uint8),
        ("ifi_hdrlen", c_uint8),
        ("_quotas", c_uint8 * 3),
        ("ifi_mtu", c_uint32),
        ("ifi_metric", c_uint32),
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
        ("ifi_noproto", c_uint64),
        ("_rest", c_uint64 * 2),
    )


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
        ("_inits", c_uint32),
        ("_rmx", c_uint32 * 14),
    )


class if_msghdr(Structure):
    _fields_ = (
        ("ifm_msglen", c_uint16),
        ("ifm_version", c_uint8),
        ("ifm_type", c_uint8),
        ("ifm_addrs", c_int),
        ("ifm_flags", c_int),
        ("ifm_index", c_uint16),
        ("_data", c_uint32 * 24),
    )


class ifa_msghdr(Structure):
    _fields_ = (
        ("ifam_msglen", c_uint16),
        ("ifam_version", c_uint8),
        ("ifam_type", c_uint8),
        ("ifam_addrs", c_int),
        ("ifam_flags", c_int),
        ("ifam_index", c_uint16),
        ("ifam_metric", c_int),
    )


class if_msghdr2(Structure):
    _fields_ = (
        ("ifm_msglen", c_uint16),
        ("ifm_version", c_uint8),
        ("ifm_type", c_uint8),
        ("ifm_addrs", c_int),
        ("ifm_flags", c_int),
        ("ifm_index", c_uint16),
        ("_queue", c_int * 4),
        ("ifm_data", if_data64),
    )


# sys/kern_control.h, net/if_utun.h


class ctl_info(Structure):
    _fields_ = (
        ("ctl_id", c_uint32),
        ("ctl_name", c_char * 96),
    )


class sockaddr_ctl(Structure):
    _fields_ = (
        ("sc_len", c_uint8),
        ("sc_family", c_uint8),
        ("ss_sysaddr", c_uint16),
        ("sc_id", c_uint32),
        ("sc_unit", c_uint32),
        ("_reserved", c_uint32 * 5),
    )


CTLIOCGINFO = IOWR("N", 3, ctl_info)
UTUN_CONTROL_NAME = b"com.apple.net.utun_control"
UTUN_OPT_IFNAME = 2
UTUN_OPT_MAX_PENDING_PACKETS = 16

# net/if_fake_var.h, net/ndrv.h, net/bpf.h: TAP


class if_fake_request(Structure):
    _fields_ = (
        ("iffr_reserved", c_uint64 * 4),
        ("iffr_peer_name", name_bytes),
        ("_space", c_uint8 * 112),
    )


class ifdrv(Structure):
    _fields_ = (
        ("ifd_name", name_bytes),
        ("ifd_cmd", c_uint64),
        ("ifd_len", c_uint64),
        ("ifd_data", c_void_p),
    )


class sockaddr_ndrv(Structure):
    _fields_ = (
        ("snd_len", c_uint8),
        ("snd_family", c_uint8),
        ("snd_name", name_bytes),
    )


class bpf_hdr(Structure):
    _fields_ = (
        ("_tstamp", c_uint32 * 2),
        ("bh_caplen", c_uint32),
        ("bh_datalen", c_uint32),
        ("bh_hdrlen", c_uint16),
    )


IF_FAKE_S_CMD_SET_PEER = 1
IF_FAKE_G_CMD_GET_PEER = 1
SIOCSDRVSPEC = IOW("i", 123, ifdrv)
SIOCGDRVSPEC = IOWR("i", 123, ifdrv)
BPF_ALIGNMENT = 4
BIOCSETIF = IOW("B", 108, ifreq)
BIOCSSEESENT = IOW("B", 119, c_uint32)
