"""What `import aiotun` gives, and what it does not import."""

from __future__ import annotations

import subprocess
import sys

import aiotun

STANDARD = (
    "__future__, asyncio, concurrent.futures.thread, copy, dataclasses, ipaddress, logging, "
    "struct, typing"
)
"""What the package builds on; these import more on their own."""

LATER = ("aiotun.cli", "aiotun.testing", "aiotun.platforms.linux", "aiotun.platforms.adopted")
"""What is imported when it is needed."""


def imported(before: str) -> set[str]:
    """What a program has imported that imports these, and then aiotun, but for the former."""
    program = (
        f"import sys, {before}; known = set(sys.modules)\n"
        "import aiotun; print(*set(sys.modules) - known)"
    )
    command = [sys.executable, "-c", program]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_only_what_is_needed_is_imported() -> None:
    found = imported(STANDARD)
    assert not {name for name in found if name.split(".")[0] != "aiotun"}
    assert not {name for name in found if name.startswith(LATER)}


def test_names() -> None:
    assert sorted(aiotun.__all__) == sorted(set(aiotun.__all__))
    assert all(hasattr(aiotun, name) for name in aiotun.__all__)
    assert len(aiotun.__all__) <= 45
