"""What can be missing, and what to do about it: in errors, and in `aiotun doctor`."""

from __future__ import annotations

__all__ = ["ADMINISTRATOR", "IPV6", "TAP", "WINTUN"]

ADMINISTRATOR = (
    "run as administrator",
    "let a service that runs as LocalSystem make the device",
)

WINTUN = (
    "put wintun.dll of this architecture (https://www.wintun.net) beside the program",
    'name its path: windows=WindowsOptions(wintun_file=r"C:\\...\\wintun.dll")',
)

TAP = ("install tap-windows6 9 (https://github.com/OpenVPN/tap-windows6/releases)",)

IPV6 = (
    "allow IPv6: delete the value DisabledComponents under "
    r"HKLM\SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters, and restart Windows",
    "leave out the IPv6 addresses",
)
