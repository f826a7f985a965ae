"""python -m tools.built: tell which native modules a set-up is without.

pip shows nothing of a build that succeeds without them. Ends with status 1 where that is no matter
of taste: in continuous integration, and where a module is left that was built from older C.
"""

from __future__ import annotations

import os
import sys

SEE_WHY = "What the compiler says: {} -m pip install -v --no-build-isolation -e ."


def missing() -> list[str]:
    """Why some are missing, and what helps. Raises `ImportError` for one of older C."""
    from aiotun.native.wanted import unwanted
    from aiotun.probes import probe

    if unwanted() is not None:
        return []
    found = [probe(name) for name in ("native", "aead")]
    return [f"{each.detail}: {' or '.join(each.remedies)}" for each in found if not each.available]


def main() -> int:
    try:
        lines, failed = missing(), os.environ.get("CI") == "true"
    except ImportError as exc:
        lines, failed = [str(exc)], True
    if not lines:
        return 0
    print("Not every native module was built.", *lines, sep="\n", file=sys.stderr)
    print(SEE_WHY.format(sys.executable), file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
