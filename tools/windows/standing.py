"""On Python for Windows: the command `aiotun`, on the stand-ins for Wintun and iphlpapi.

    python -m tools.windows.standing wireguard serve wg0.conf

The other side of its device is a UDP socket, to the port that STANDIN_PORT names, and last digits
of names add to. With STANDIN_CARD there is a network card of that index too, to which the default
routes lead. A line on its input is ctrl-C.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from aiotun import cli

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))


def main(words: list[str]) -> int:
    if sys.platform == "win32":
        from standin import LIBRARY, Card, open_standin

        from aiotun.platforms.windows import wintun

        load: Any = wintun.load
        wintun.load = lambda file: load(file or LIBRARY)
        threading.Thread(target=interrupt, daemon=True).start()
        with ExitStack() as stack:
            standin = stack.enter_context(open_standin())
            if "STANDIN_CARD" in os.environ:
                card = Card(standin, "Ethernet", int(os.environ["STANDIN_CARD"]))
                stack.callback(card.close)
                for network in ("0.0.0.0/0", "::/0"):
                    card.route(network, 0)
            return cli.main(words)
    raise SystemExit("this is for Windows")


def interrupt() -> None:
    if sys.stdin.readline():
        signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
