"""Large batches find the memory of those before."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.requires("aead"),
    pytest.mark.skipif(
        platform.libc_ver()[0] != "glibc" or "LD_PRELOAD" in os.environ,
        reason="it is about glibc's malloc, and a sanitizer has its own",
    ),
]

PROGRAM = """
import resource
from aiotun.aead import Sealer

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

sealer, packets = Sealer(bytes(32)), [bytes(1420)] * 1024
sealer.seal(packets, bytes(8), 0)
before = faults()
for _ in range(10):
    sealer.seal(packets, bytes(8), 0)
print((faults() - before) / 10)
"""


def test_no_batch_has_its_memory_anew() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert float(done.stdout) < 50  # 260 where glibc gives back what is freed
