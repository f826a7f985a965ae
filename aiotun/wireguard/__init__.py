"""WireGuard: its protocol without I/O in `core`, and an interface of it on a TUN device.

>>> config = parse_config(Path("wg0.conf").read_text())
>>> async with WireGuard(config, name="wg0") as wireguard:
...     await wireguard.wait_closed()

Messages go to the logger `aiotun.wireguard`. What else this needs comes with
`pip install 'aiotun[wireguard]'`; `import aiotun` imports nothing of it.
"""

from __future__ import annotations

try:
    from .config import InterfaceConfig, PeerConfig
    from .config_file import ConfigFileError, format_config, parse_config
    from .endpoint import WireGuard
except ModuleNotFoundError as exc:
    if exc.name is None or exc.name.partition(".")[0] not in ("cryptography", "nacl"):
        raise
    raise ModuleNotFoundError(
        f"{exc.msg}: pip install 'aiotun[wireguard]' brings it", name=exc.name
    ) from None

__all__ = [
    "ConfigFileError",
    "InterfaceConfig",
    "PeerConfig",
    "WireGuard",
    "format_config",
    "parse_config",
]
