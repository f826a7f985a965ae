"""The programs: ours and the peers', and how each is built.

`python -m benchmarks.wireguard.programs` builds what can be built on this machine.
"""

from __future__ import annotations

import sys

from ..programs import PEERS, BuildError, Program

__all__ = ["IMPLEMENTATIONS", "MANY"]

IMPLEMENTATIONS = {
    "aiotun": Program("aiotun", (sys.executable, "-m", "aiotun", "wireguard", "serve")),
    "wireguard-go": Program(
        "wireguard-go",
        (str(PEERS / "wireguard-go/target/wireguard-go"), "--foreground"),
        PEERS / "wireguard-go",
        ("go", "build", "-o", "target/wireguard-go", "golang.zx2c4.com/wireguard"),
    ),
    "boringtun": Program(
        "boringtun",
        (
            str(PEERS / "boringtun/target/bin/boringtun-cli"),
            *("--foreground", "--disable-drop-privileges"),
        ),
        PEERS / "boringtun",
        (
            # For correctness alone, so without the time that optimising takes.
            *("cargo", "install", "--debug", "--quiet", "--locked", "--root", "target"),
            *("--version", "=0.7.1", "boringtun-cli"),
        ),
    ),
    "linux": Program("Linux", ()),
}
"""Their command lines end with what they serve: a file, or the interface's name."""

MANY = Program(
    "many wireguard-go peers in one process",
    (str(PEERS / "wireguard-go/target/many"),),
    PEERS / "wireguard-go",
    ("go", "build", "-o", "target/many", "./many"),
)


def build() -> None:
    """The first build needs the network."""
    for program in (*IMPLEMENTATIONS.values(), MANY):
        try:
            program.prepare()
        except BuildError as exc:
            print(f"left out: {program.title}: {exc}", file=sys.stderr)


if __name__ == "__main__":
    build()
