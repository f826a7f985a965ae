"""Capture files as python-pcapng reads them, whose code has nothing of ours."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

from pcapng import FileScanner
from pcapng.blocks import EnhancedPacket, InterfaceDescription, InterfaceStatistics

__all__ = ["Contents", "read"]

INBOUND, OUTBOUND = "inbound", "outbound"


class Contents(NamedTuple):
    interfaces: list[dict[str, Any]]
    """Their options by name, and `link_type`."""
    packets: list[tuple[bytes, str, str]]
    """Each with its direction and its comment."""
    times: list[int]
    """Of the packets, in nanoseconds."""
    sizes: list[int]
    """Of the packets before they were cut."""
    statistics: list[dict[str, int]]


def read(path: Path) -> Contents:
    contents = Contents([], [], [], [], [])
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its own names, used by itself
        for block in FileScanner(file):
            if isinstance(block, InterfaceDescription):
                options = {name: block.options[name] for name in block.options}
                contents.interfaces.append({"link_type": block.link_type, **options})
            elif isinstance(block, EnhancedPacket):
                flags = block.options.get("epb_flags")
                direction = getattr(flags, "inout", "")
                comment = block.options.get("opt_comment", "")
                contents.packets.append((bytes(block.packet_data), direction, comment))
                contents.times.append((block.timestamp_high << 32) | block.timestamp_low)
                contents.sizes.append(block.packet_len)
            elif isinstance(block, InterfaceStatistics):
                contents.statistics.append({name: block.options[name] for name in block.options})
    return contents
