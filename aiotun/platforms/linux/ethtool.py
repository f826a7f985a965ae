"""Features of an interface, such as ethtool(8) shows with -k (linux/ethtool.h)."""

from __future__ import annotations

import sys

assert sys.platform == "linux"

import ctypes
import fcntl
import os
import socket
import struct

__all__ = ["TCP_SEGMENTATION", "UDP_SEGMENTATION", "active_features"]

TCP_SEGMENTATION = "tx-tcp-segmentation"
UDP_SEGMENTATION = "tx-udp-segmentation"

SIOCETHTOOL = 0x8946
"""linux/sockios.h"""

ETHTOOL_GSTRINGS = 0x1B
ETHTOOL_GFEATURES = 0x3A
ETH_SS_FEATURES = 4

NAME_SIZE = 32
"""ETH_GSTRING_LEN"""

BLOCKS_MAX = 8
"""Of 32 features each; Linux 6.18 has two."""

HEADER = struct.Struct("=III")
"""struct ethtool_gstrings: command, set of strings, their number."""

FEATURES = struct.Struct("=II")
"""struct ethtool_gfeatures: command, number of blocks."""

BLOCK = struct.Struct("=IIII")
"""struct ethtool_get_features_block: available, requested, active, never changed."""


def active_features(name: str) -> set[str]:
    """Those of an interface in the network namespace of the calling thread."""
    room = 32 * BLOCKS_MAX * NAME_SIZE
    strings = _ask(name, HEADER.pack(ETHTOOL_GSTRINGS, ETH_SS_FEATURES, 0) + bytes(room))
    features = _ask(
        name, FEATURES.pack(ETHTOOL_GFEATURES, BLOCKS_MAX) + bytes(BLOCKS_MAX * BLOCK.size)
    )
    active = 0
    for block in range(FEATURES.unpack_from(features)[1]):
        bits = BLOCK.unpack_from(features, FEATURES.size + block * BLOCK.size)[2]
        active |= bits << 32 * block
    names = range(HEADER.size, HEADER.size + HEADER.unpack_from(strings)[2] * NAME_SIZE, NAME_SIZE)
    return {
        strings[start : start + NAME_SIZE].rstrip(b"\0").decode()
        for number, start in enumerate(names)
        if active >> number & 1
    }


def _ask(name: str, command: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(command, len(command))
    request = struct.pack("16sP16x", os.fsencode(name), ctypes.addressof(buffer))  # struct ifreq
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCETHTOOL, request)
    return buffer.raw
