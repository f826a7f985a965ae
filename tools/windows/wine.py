"""Wine, and Python for Windows in it."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from pathlib import Path

__all__ = ["FOLDER", "ROOT", "end_wine", "environment", "pytest", "windows_path"]

ROOT = Path(__file__).parents[2]

FOLDER = ROOT / ".venv-windows"
"""Where all of it is installed."""

LAST_WORDS = 5.0
"""Seconds in which what a process has written is read once it has ended."""

COLLECTED = re.compile(r"collected (\d+) items?(?:.* / (\d+) selected)?")
"""What pytest says of the tests in the beginning."""

SUMMARY = re.compile(r"=+ .* in [\d.]+s.* =+$")
"""What it says in the end, and of how many tests."""

OUTCOME = re.compile(r"(\d+) (?:passed|failed|skipped|errors?|xfailed|xpassed)\b")

STARTUP = Path(__file__).parent / "startup"
"""What Python runs there before all else."""


def windows_path(path: Path) -> str:
    """Wine shows the root of the file system as drive Z."""
    return "Z:" + str(path).replace("/", "\\")


def environment(folder: Path = FOLDER) -> dict[str, str]:
    """In which wine runs, and Python finds the project and its packages."""
    return os.environ | {
        "WINEPREFIX": str(folder / "prefix"),
        "WINEARCH": "win64",
        "WINEPATH": windows_path(folder / "site" / "bin"),  # programs of packages
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree,mshtml=",  # or it asks for Mono and Gecko
        "PYTHONPATH": ";".join(map(windows_path, (STARTUP, ROOT, folder / "site"))),
        "PYTHONDONTWRITEBYTECODE": "",  # each program would compile all that it imports
        "PYTHONPYCACHEPREFIX": windows_path(folder / "pycache"),
        "AIOTUN_TEST_REQUIRE": "",  # what wine lacks is no fault
        "AIOTUN_STANDIN": windows_path(folder / "standin.dll"),
        "AIOTUN_STANDIN_TAP": windows_path(folder / "standin-tap.sys"),
        "AIOTUN_WINTUN": windows_path(folder / "genuine" / "wintun.dll"),
    }


def end_wine(folder: Path = FOLDER) -> None:
    """End all that still runs there, and its server, in whose network namespace all sockets are."""
    for option in ("--kill", "--wait"):
        subprocess.run(["wineserver", option], env=environment(folder), check=False)


def pytest(*arguments: str, folder: Path = FOLDER) -> int:
    """Run tests on Python for Windows; the status that they end with.

    It is 0 only if pytest told of each test: wine's programs end with 0 where its server does.

    Which test was the last to begin is told at the end, where a failure did not let pytest
    tell: at the end of its time a test ends the process, and so does a fault of wine.

    Its output goes through a pipe: of other descriptors than pipes and consoles wine makes
    handles with which Python cannot begin.
    """
    process = subprocess.Popen(
        ["wine", str(folder / "python" / "python.exe"), "-m", "pytest", "-v", *arguments],
        cwd=ROOT,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    last, collected, told = "none", 1, 0

    def show() -> None:
        nonlocal last, collected, told
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                print(line, end="", flush=True)
                if line.startswith("tests/"):
                    last = line.strip()
                if begun := COLLECTED.search(line):
                    collected = int(begun[2] or begun[1])
                if SUMMARY.match(line):
                    told = sum(map(int, OUTCOME.findall(line)))

    showing = threading.Thread(target=show, daemon=True)
    showing.start()
    status = process.wait()
    end_wine(folder)  # of which some programs may have the other end of the pipe
    showing.join(LAST_WORDS)
    if status or told < collected:
        print(
            f"Python for Windows ended with {status}, and told of {told} of {collected} tests; "
            f"the last was {last}"
        )
    return status or int(told < collected)
