"""aiotun beside its peers, measured: `python -m benchmarks`. README.md says how."""

from __future__ import annotations

import sys
from types import TracebackType


def _tell_what_is_missing(
    kind: type[BaseException], exc: BaseException, traceback: TracebackType | None
) -> None:
    """One line in the place of a traceback for a package that is not installed."""
    missing = exc.__cause__ or exc  # aiotun raises an error of its own from it
    if isinstance(exc, ImportError) and isinstance(missing, ModuleNotFoundError):
        print(
            f"the Python package {missing.name} is not installed: make .venv/bench sets up all "
            "that the benchmarks take",
            file=sys.stderr,
        )
    else:
        sys.__excepthook__(kind, exc, traceback)


if sys.argv[0] == "-m":  # one of its modules is about to be the program
    sys.excepthook = _tell_what_is_missing
