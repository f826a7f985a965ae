"""Use an installed package that has nothing around it: packets, encryption, its commands."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import aiotun
from aiotun import aead
from aiotun.offload import implementation
from aiotun.testing import memory_devices

PACKET = bytes([0x45, 0, 0, 20]) + bytes(16)


async def exchange() -> bytes:
    near, far = memory_devices()
    async with aiotun.open_device(device=near) as sender, aiotun.open_device(device=far) as stream:
        await sender.send(PACKET)
        return await stream.recv()


assert asyncio.run(exchange()) == PACKET
assert implementation == "native", "the wheel has no native module"
assert aead.implementation == "native", "the wheel has no native module for encryption"
sealed = aead.Sealer(bytes(32)).seal([PACKET], b"head", 1)
assert aead.Opener(bytes(32), 4).open(sealed) == ([PACKET], [1])
for command in ("--version", "capture --help", "watch --help"):
    subprocess.run([sys.executable, "-m", "aiotun", *command.split()], check=True)
print(f"used aiotun {aiotun.__version__} of {aiotun.__file__}: {implementation}")
