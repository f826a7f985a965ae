"""aiotun doctor: what this machine offers, and what to do about each thing missing."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from ..probes import SECTIONS, Capability, names, probe
from . import version

__all__ = ["add_arguments", "main", "report", "verdict"]

INDENT = " " * 23

BOLD, GREEN, RED, RESET = "1", "32", "31", "0"
"""ECMA-48 section 8.3.117, select graphic rendition."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def main(args: argparse.Namespace) -> int:
    """Print the findings; return 0 if this process can make a TUN device, else 1."""
    system = {
        "aiotun": version(),
        "Python": f"{platform.python_version()} ({sys.executable})",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "user": _user(),
    }
    found = {name: probe(name) for name in names()}
    ready = "tun" in found and found["tun"].available
    if args.json:
        capabilities = [asdict(capability) for capability in found.values()]
        print(
            json.dumps({"ready": ready, "system": system, "capabilities": capabilities}, indent=2)
        )
    else:
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
        for line in report(system, found, colour=_colour(), columns=columns):
            print(line)
        print(verdict(found))
    return 0 if ready else 1


def report(
    system: Mapping[str, str], found: Mapping[str, Capability], *, colour: bool, columns: int
) -> Iterator[str]:
    """The lines to show, a section after the other; a remedy is told once.

    What is too long for so many columns goes on in the last column of its table.
    """

    def paint(text: str, code: str) -> str:
        return f"\33[{code}m{text}\33[{RESET}m" if colour else text

    def fit(head: str, text: str, hang: str = "") -> Iterator[str]:
        for line in textwrap.wrap(text, columns - len(INDENT), subsequent_indent=hang):
            yield head + line
            head = INDENT

    yield paint("System", BOLD)
    for name, value in system.items():
        yield from fit(f"           {name:12}", value)
    told: set[tuple[str, ...]] = set()
    for section, members in SECTIONS.items():
        shown = [found[name] for name in members if name in found]
        if shown:
            yield ""
            yield paint(section, BOLD)
        for capability in shown:
            mark = paint("ok     ", GREEN) if capability.available else paint("missing", RED)
            yield from fit(f"  {mark}  {capability.name:12}", capability.detail)
            if capability.remedies not in told:
                for remedy in capability.remedies:
                    yield from fit(INDENT, f"-> {remedy}", "   ")
                told.add(capability.remedies)
    yield ""


def verdict(found: Mapping[str, Capability]) -> str:
    """The findings in one line."""
    if "tun" not in found:
        return "aiotun opens no devices on this system; the in-memory device works."
    if found["tun"].available:
        return "This process can make a TUN device."
    if "userns" in found and found["userns"].available:
        return "This process can make a TUN device only inside a user namespace: unshare -Urn"
    return "This process cannot make a TUN device; the in-memory device works."


def _user() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a uid without an entry, as in many containers
        name = "without a name"
    if sys.platform == "win32":
        return name
    return f"{name} (uid {os.geteuid()})"


def _colour() -> bool:
    """Only on a terminal, and not against the user's wish (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
