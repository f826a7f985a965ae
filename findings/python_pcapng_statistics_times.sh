#!/bin/sh
# python-pcapng 2.1.1 takes the times in an Interface Statistics Block's options (isb_starttime and
# isb_endtime) for one number of 64 bits. The format has them as two of 32 bits each, the upper half
# first in either byte order, as in a packet (draft-ietf-opsawg-pcapng, section 4.6). So in
# little-endian files, as dumpcap writes them, the halves are swapped, and times come out tens of
# thousands of years off. The time of the block itself is right.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check python-pcapng==2.1.1

cat >"$scratch/read.py" <<'PYTHON'
import io
import platform
import struct
import sys
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
from pcapng import FileScanner
from pcapng.blocks import InterfaceStatistics

START = 1_700_000_000_000_000  # microseconds, in 2023


def block(kind, body):
    total = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + total + body + total


halves = struct.pack("<II", START >> 32, START & 0xFFFFFFFF)
file = b"".join(
    [
        block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)),
        block(1, struct.pack("<HHI", 101, 0, 65535)),
        block(5, struct.pack("<I", 0) + halves + struct.pack("<HH", 2, 8) + halves + bytes(4)),
    ]
)
(statistics,) = (
    each for each in FileScanner(io.BytesIO(file)) if isinstance(each, InterfaceStatistics)
)
own = statistics.timestamp_high << 32 | statistics.timestamp_low
option = statistics.options["isb_starttime"]
print("CPython", platform.python_version(), "python-pcapng", version("python-pcapng"))
print("written:      ", START)
print("of the block: ", own)
print("isb_starttime:", option)
swapped = (START & 0xFFFFFFFF) << 32 | START >> 32
sys.exit((own, option) != (START, swapped))
PYTHON
"$scratch/venv/bin/python" "$scratch/read.py"
