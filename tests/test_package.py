"""What `import aiotun` gives, and what it does not import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import aiotun

ROOT = Path(__file__).parents[1]

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
    # Without `site`: an installation that is editable imports more, and hides it.
    command = [sys.executable, "-S", "-c", program]
    run = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return set(run.stdout.split())


def test_only_what_is_needed_is_imported() -> None:
    found = imported(STANDARD)
    assert not {name for name in found if name.split(".")[0] != "aiotun"}
    assert not {name for name in found if name.startswith(LATER)}


def test_what_most_do_without_is_imported_when_it_is_asked_for() -> None:
    program = (
        "import aiotun; print(aiotun.aead.Sealer, aiotun.flows.Flow, aiotun.handover.send_device, "
        "aiotun.metrics.Metrics, aiotun.testing.Namespace, aiotun.wireguard.WireGuard)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_names() -> None:
    assert sorted(aiotun.__all__) == sorted(set(aiotun.__all__))
    assert all(hasattr(aiotun, name) for name in aiotun.__all__)
    assert len(aiotun.__all__) <= 45
