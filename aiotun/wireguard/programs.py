"""Programs of the system, run to their end."""

from __future__ import annotations

import logging
import subprocess

__all__ = ["run_program", "try_program"]

logger = logging.getLogger("aiotun.wireguard")

TIMEOUT = 20.0
"""Seconds: each of them asks the kernel, or another program of this machine."""


def run_program(*words: str, text: str = "") -> None:
    """Run a program with this text as its input. Blocks, so it is called off the loop.

    Raises `OSError` unless it succeeds.
    """
    try:
        result = subprocess.run(
            words,
            input=text.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired as exc:
        raise TimeoutError(f"{words[0]} did not end within {TIMEOUT:.0f} seconds") from exc
    if result.returncode:
        message = result.stderr.decode(errors="replace").strip()
        raise OSError(f"{' '.join(words)} failed: {message or result.returncode}")


def try_program(*words: str, text: str = "") -> None:
    """`run_program` for what undoes something: that it fails is logged, and all else goes on."""
    try:
        run_program(*words, text=text)
    except OSError as exc:
        logger.warning("%s", exc)
