"""`aiotun.wireguard` as a library: its names, and when what they need is imported."""

from __future__ import annotations

import subprocess
import sys

import aiotun.wireguard


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=50
    )
    return done.stdout


def test_its_names() -> None:
    assert {"WireGuard", "InterfaceConfig", "PeerConfig", "parse_config"} <= set(
        aiotun.wireguard.__all__
    )
    assert all(hasattr(aiotun.wireguard, name) for name in aiotun.wireguard.__all__)


def test_aiotun_imports_nothing_of_it() -> None:
    shown = run("import sys, aiotun; print([name for name in sys.modules])")
    assert not {"aiotun.wireguard", "cryptography", "nacl", "rich", "segno"} & set(eval(shown))


def test_it_says_what_is_missing() -> None:
    for module in ("cryptography", "nacl"):
        shown = run(
            f"import sys; sys.modules[{module!r}] = None\n"
            "try: import aiotun.wireguard\nexcept ModuleNotFoundError as exc: print(exc.name, exc)"
        )
        assert shown.startswith(f"{module}")
        assert "pip install 'aiotun[wireguard]'" in shown
