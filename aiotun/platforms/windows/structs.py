"""Structs of Windows, on 64 bits; a test asks mingw's headers whether they fit.

Named as in netioapi.h, ws2ipdef.h, ifdef.h, minwinbase.h, setupapi.h and wintrust.h. Imported
on every system, for that test.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    Structure,
    c_int,
    c_int64,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

__all__ = [
    "AF_INET",
    "AF_INET6",
    "AF_UNSPEC",
    "DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS",
    "DNS_INTERFACE_SETTINGS",
    "GUID",
    "IF_OPER_STATUS_UP",
    "IP_ADDRESS_PREFIX",
    "MIB_IF_ROW2",
    "MIB_IPFORWARD_ROW2",
    "MIB_IPINTERFACE_ROW",
    "MIB_UNICASTIPADDRESS_ROW",
    "OVERLAPPED",
    "SECURITY_ATTRIBUTES",
    "SOCKADDR_INET",
    "SP_DEVINFO_DATA",
    "SP_DRVINFO_DATA_V2_W",
    "TOKEN_PRIVILEGES",
    "WINTRUST_DATA",
    "WINTRUST_FILE_INFO",
    "WSABUF",
    "WSAMSG",
]

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 23

IF_OPER_STATUS_UP = 1
"""IfOperStatusUp (ifdef.h), as `MIB_IF_ROW2` has it."""


class GUID(Structure):
    _fields_ = (
        ("Data1", c_uint32),
        ("Data2", c_uint16),
        ("Data3", c_uint16),
        ("Data4", c_uint8 * 8),
    )

    @classmethod
    def of(cls, guid: UUID) -> GUID:
        return cls.from_buffer_copy(guid.bytes_le)


class OVERLAPPED(Structure):
    """What identifies a read or write that is under way."""

    _fields_ = (
        ("Internal", c_uint64),
        ("InternalHigh", c_uint64),
        ("Offset", c_uint32),
        ("OffsetHigh", c_uint32),
        ("hEvent", c_void_p),
    )


class SECURITY_ATTRIBUTES(Structure):
    """Who may do what with an object that is made."""

    _fields_ = (
        ("nLength", c_uint32),
        ("lpSecurityDescriptor", c_void_p),
        ("bInheritHandle", c_int),
    )


class DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS(Structure):
    """Whom to call back, and with what."""

    _fields_ = (("Callback", c_void_p), ("Context", c_void_p))


class TOKEN_PRIVILEGES(Structure):
    """One privilege: `PrivilegeCount` is 1, or 0 where there is none."""

    PrivilegeCount: int
    _fields_ = (
        ("PrivilegeCount", c_uint32),
        ("Luid", c_uint32 * 2),
        ("Attributes", c_uint32),
    )


class WSABUF(Structure):
    """Bytes in memory. Whoever fills it in keeps them."""

    len: int
    buf: int | c_void_p | None
    _fields_ = (("len", c_uint32), ("buf", c_void_p))


class WSAMSG(Structure):
    """What WSASendMsg and WSARecvMsg take."""

    name: int | c_void_p | None
    namelen: int
    Control: WSABUF
    _fields_ = (
        ("name", c_void_p),
        ("namelen", c_int),
        ("lpBuffers", c_void_p),
        ("dwBufferCount", c_uint32),
        ("Control", WSABUF),
        ("dwFlags", c_uint32),
    )


class SP_DEVINFO_DATA(Structure):
    """A device within a list of them. `cbSize` is the struct's own."""

    cbSize: int
    _fields_ = (
        ("cbSize", c_uint32),
        ("ClassGuid", GUID),
        ("DevInst", c_uint32),
        ("Reserved", c_uint64),
    )


class SP_DRVINFO_DATA_V2_W(Structure):
    """A driver within a list of them."""

    cbSize: int
    DriverVersion: int
    _fields_ = (
        ("cbSize", c_uint32),
        ("DriverType", c_uint32),
        ("Reserved", c_uint64),
        ("Description", c_uint16 * 256),
        ("MfgName", c_uint16 * 256),
        ("ProviderName", c_uint16 * 256),
        ("DriverDate", c_uint32 * 2),
        ("DriverVersion", c_uint64),
    )


class WINTRUST_FILE_INFO(Structure):
    """The file whose signature is asked about. Whoever fills it in keeps the path."""

    _fields_ = (
        ("cbStruct", c_uint32),
        ("pcwszFilePath", c_void_p),
        ("hFile", c_void_p),
        ("pgKnownSubject", c_void_p),
    )


class WINTRUST_DATA(Structure):
    """How it is asked about."""

    _fields_ = (
        ("cbStruct", c_uint32),
        ("pPolicyCallbackData", c_void_p),
        ("pSIPClientData", c_void_p),
        ("dwUIChoice", c_uint32),
        ("fdwRevocationChecks", c_uint32),
        ("dwUnionChoice", c_uint32),
        ("pFile", c_void_p),
        ("dwStateAction", c_uint32),
        ("hWVTStateData", c_void_p),
        ("pwszURLReference", c_void_p),
        ("dwProvFlags", c_uint32),
        ("dwUIContext", c_uint32),
    )


class SOCKADDR_INET(Structure):
    """A union of sockaddr_in and sockaddr_in6: the former's address lies at `flowinfo`."""

    family: int
    _fields_ = (
        ("family", c_uint16),
        ("port", c_uint16),
        ("flowinfo", c_uint8 * 4),
        ("address", c_uint8 * 16),
        ("scope", c_uint32),
    )

    def put(self, address: IPv4Address | IPv6Address) -> None:
        ctypes.memset(ctypes.byref(self), 0, ctypes.sizeof(self))
        if address.version == 4:
            self.family = AF_INET
            self.flowinfo[:] = list(address.packed)
        else:
            self.family = AF_INET6
            self.address[:] = list(address.packed)

    def get(self) -> IPv4Address | IPv6Address:
        return ip_address(bytes(self.flowinfo if self.family == AF_INET else self.address))


class IP_ADDRESS_PREFIX(Structure):
    Prefix: SOCKADDR_INET
    PrefixLength: int
    _fields_ = (("Prefix", SOCKADDR_INET), ("PrefixLength", c_uint8))


class MIB_UNICASTIPADDRESS_ROW(Structure):
    Address: SOCKADDR_INET
    InterfaceLuid: int
    OnLinkPrefixLength: int
    DadState: int
    _fields_ = (
        ("Address", SOCKADDR_INET),
        ("InterfaceLuid", c_uint64),
        ("InterfaceIndex", c_uint32),
        ("PrefixOrigin", c_int),
        ("SuffixOrigin", c_int),
        ("ValidLifetime", c_uint32),
        ("PreferredLifetime", c_uint32),
        ("OnLinkPrefixLength", c_uint8),
        ("SkipAsSource", c_uint8),
        ("DadState", c_int),
        ("ScopeId", c_uint32),
        ("CreationTimeStamp", c_int64),
    )


class MIB_IPINTERFACE_ROW(Structure):
    Family: int
    InterfaceLuid: int
    UseAutomaticMetric: int
    RouterDiscoveryBehavior: int
    DadTransmits: int
    LinkLocalAddressBehavior: int
    SitePrefixLength: int
    Metric: int
    NlMtu: int
    _fields_ = (
        ("Family", c_uint16),
        ("InterfaceLuid", c_uint64),
        ("InterfaceIndex", c_uint32),
        ("MaxReassemblySize", c_uint32),
        ("InterfaceIdentifier", c_uint64),
        ("MinRouterAdvertisementInterval", c_uint32),
        ("MaxRouterAdvertisementInterval", c_uint32),
        ("AdvertisingEnabled", c_uint8),
        ("ForwardingEnabled", c_uint8),
        ("WeakHostSend", c_uint8),
        ("WeakHostReceive", c_uint8),
        ("UseAutomaticMetric", c_uint8),
        ("UseNeighborUnreachabilityDetection", c_uint8),
        ("ManagedAddressConfigurationSupported", c_uint8),
        ("OtherStatefulConfigurationSupported", c_uint8),
        ("AdvertiseDefaultRoute", c_uint8),
        ("RouterDiscoveryBehavior", c_int),
        ("DadTransmits", c_uint32),
        ("BaseReachableTime", c_uint32),
        ("RetransmitTime", c_uint32),
        ("PathMtuDiscoveryTimeout", c_uint32),
        ("LinkLocalAddressBehavior", c_int),
        ("LinkLocalAddressTimeout", c_uint32),
        ("ZoneIndices", c_uint32 * 16),
        ("SitePrefixLength", c_uint32),
        ("Metric", c_uint32),
        ("NlMtu", c_uint32),
        ("Connected", c_uint8),
        ("SupportsWakeUpPatterns", c_uint8),
        ("SupportsNeighborDiscovery", c_uint8),
        ("SupportsRouterDiscovery", c_uint8),
        ("ReachableTime", c_uint32),
        ("TransmitOffload", c_uint8),
        ("ReceiveOffload", c_uint8),
        ("DisableDefaultRoutes", c_uint8),
    )


class MIB_IPFORWARD_ROW2(Structure):
    InterfaceLuid: int
    InterfaceIndex: int
    DestinationPrefix: IP_ADDRESS_PREFIX
    NextHop: SOCKADDR_INET
    SitePrefixLength: int
    Metric: int
    Protocol: int
    _fields_ = (
        ("InterfaceLuid", c_uint64),
        ("InterfaceIndex", c_uint32),
        ("DestinationPrefix", IP_ADDRESS_PREFIX),
        ("NextHop", SOCKADDR_INET),
        ("SitePrefixLength", c_uint8),
        ("ValidLifetime", c_uint32),
        ("PreferredLifetime", c_uint32),
        ("Metric", c_uint32),
        ("Protocol", c_int),
        ("Loopback", c_uint8),
        ("AutoconfigureAddress", c_uint8),
        ("Publish", c_uint8),
        ("Immortal", c_uint8),
        ("Age", c_uint32),
        ("Origin", c_int),
    )


class MIB_IF_ROW2(Structure):
    InterfaceLuid: int
    PhysicalAddressLength: int
    OperStatus: int
    AdminStatus: int
    MediaConnectState: int
    InOctets: int
    InUcastPkts: int
    InNUcastPkts: int
    InDiscards: int
    InErrors: int
    OutOctets: int
    OutUcastPkts: int
    OutNUcastPkts: int
    OutDiscards: int
    _fields_ = (
        ("InterfaceLuid", c_uint64),
        ("InterfaceIndex", c_uint32),
        ("InterfaceGuid", GUID),
        ("Alias", c_uint16 * 257),
        ("Description", c_uint16 * 257),
        ("PhysicalAddressLength", c_uint32),
        ("PhysicalAddress", c_uint8 * 32),
        ("PermanentPhysicalAddress", c_uint8 * 32),
        ("Mtu", c_uint32),
        ("Type", c_uint32),
        ("TunnelType", c_int),
        ("MediaType", c_int),
        ("PhysicalMediumType", c_int),
        ("AccessType", c_int),
        ("DirectionType", c_int),
        ("InterfaceAndOperStatusFlags", c_uint8),
        ("OperStatus", c_int),
        ("AdminStatus", c_int),
        ("MediaConnectState", c_int),
        ("NetworkGuid", GUID),
        ("ConnectionType", c_int),
        ("TransmitLinkSpeed", c_uint64),
        ("ReceiveLinkSpeed", c_uint64),
        ("InOctets", c_uint64),
        ("InUcastPkts", c_uint64),
        ("InNUcastPkts", c_uint64),
        ("InDiscards", c_uint64),
        ("InErrors", c_uint64),
        ("InUnknownProtos", c_uint64),
        ("InUcastOctets", c_uint64),
        ("InMulticastOctets", c_uint64),
        ("InBroadcastOctets", c_uint64),
        ("OutOctets", c_uint64),
        ("OutUcastPkts", c_uint64),
        ("OutNUcastPkts", c_uint64),
        ("OutDiscards", c_uint64),
        ("OutErrors", c_uint64),
        ("OutUcastOctets", c_uint64),
        ("OutMulticastOctets", c_uint64),
        ("OutBroadcastOctets", c_uint64),
        ("OutQLen", c_uint64),
    )


class DNS_INTERFACE_SETTINGS(Structure):
    """Windows 10 19041 and later. Its strings are kept by whoever fills them in."""

    _fields_ = (
        ("Version", c_uint32),
        ("Flags", c_uint64),
        ("Domain", c_void_p),
        ("NameServer", c_void_p),
        ("SearchList", c_void_p),
        ("RegistrationEnabled", c_uint32),
        ("RegisterAdapterName", c_uint32),
        ("EnableLLMNR", c_uint32),
        ("QueryAdapterName", c_uint32),
        ("ProfileNameServer", c_void_p),
    )
