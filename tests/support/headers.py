"""What the C headers of other systems say, asked through the compiler of PyPI's ziglang.

zig brings the systems' own headers. It compiles each expression into a constant, and the answers
are read from the assembly: nothing is run. What zig does not bring of macOS' headers stands in
`darwin.h`, after xnu: of that only the arithmetic is checked, not the facts.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["MASK", "SYSTEMS", "ZIG", "ask"]

SYSTEMS = {
    "freebsd": "x86_64-freebsd",
    "netbsd": "x86_64-netbsd",
    "openbsd": "x86_64-openbsd",
    "darwin": "aarch64-macos",
    "windows": "x86_64-windows-gnu",
}
"""The target of zig that has a system's headers."""

MASK = 2**64 - 1
"""Answers are numbers of 64 bits without a sign."""

BSD = """
    sys/types.h sys/param.h sys/socket.h sys/ioctl.h sys/sockio.h sys/time.h net/if.h net/if_dl.h
    net/route.h net/bpf.h netinet/in.h sys/sysctl.h stddef.h
"""
HEADERS = {
    "freebsd": BSD + "net/if_tun.h net/if_tap.h netinet/in_var.h netinet6/in6_var.h netinet6/nd6.h",
    "netbsd": BSD + "net/if_tun.h net/if_tap.h netinet/in_var.h netinet6/in6_var.h netinet6/nd6.h",
    "openbsd": BSD + "net/if_tun.h netinet/in_var.h netinet6/in6_var.h netinet6/nd6.h",
    "darwin": BSD + "net/if_utun.h net/ndrv.h sys/kern_control.h",
    "windows": "winsock2.h ws2tcpip.h windows.h winioctl.h iphlpapi.h netioapi.h stddef.h",
}
ZIG = (sys.executable, "-m", "ziglang", "cc")
OPTIONS = (
    "-w",
    "-D_NETBSD_SOURCE",
    "-D_BSD_SOURCE",
    "-D__APPLE_USE_RFC_3542",
    "-D_WIN32_WINNT=0x0A00",
    "-ferror-limit=0",
)


def ask(system: str, expressions: Sequence[str]) -> dict[str, int | None]:
    """The value of each constant expression of C; None for one that does not compile."""
    own = Path(__file__).with_name(f"{system}.h")
    lines = [f"#include <{header}>" for header in HEADERS[system].split()]
    lines += own.read_text().splitlines() if own.exists() else []
    known = list(expressions)
    with tempfile.TemporaryDirectory() as folder:
        while True:
            constants = [
                f"const unsigned long long answer_{number} = (unsigned long long)({expression});"
                for number, expression in enumerate(known)
            ]
            Path(folder, "ask.c").write_text("\n".join([*lines, *constants, ""]))
            run = subprocess.run(
                [*ZIG, "-target", SYSTEMS[system], *OPTIONS, "-S", "ask.c", "-o", "ask.s"],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            if run.returncode == 0:
                break
            wrong = {int(line) for line in re.findall(r"ask\.c:(\d+):\d+: error", run.stderr)}
            unknown = [known[line - len(lines) - 1] for line in wrong if line > len(lines)]
            if not unknown:
                raise RuntimeError(run.stderr)
            known = [expression for expression in known if expression not in unknown]
        assembly = Path(folder, "ask.s").read_text()
    found = dict.fromkeys(expressions)
    return found | {
        known[int(number)]: _constant(text)
        for number, text in re.findall(r"^_?answer_(\d+):\n((?:\s.*\n)+)", assembly, re.M)
    }


def _constant(text: str) -> int:
    """The 8 bytes that directives of the assembler describe."""
    zero = re.match(r"\s*\.(?:zero|space)\s+8\b", text)
    if zero:
        return 0
    number = re.match(r"\s*\.(?:quad|xword|8byte)\s+(-?\w+)", text)
    assert number is not None, text
    return int(number[1], 0) & MASK
