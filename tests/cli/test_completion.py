"""aiotun completion: shells complete commands and options by its scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def script(tmp_path: Path, shell: str) -> Path:
    path = tmp_path / "_aiotun"
    command = [sys.executable, "-m", "aiotun", "completion", shell]
    path.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return path


def output(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_bash(tmp_path: Path) -> None:
    def completed(*words: str) -> list[str]:
        line = " ".join(words)
        program = f"""
            source {script(tmp_path, "bash")}
            COMP_WORDS=({line}) COMP_CWORD={len(words) - 1} COMP_LINE="{line}"
            _shtab_aiotun
            echo "${{COMPREPLY[@]}}"
        """
        return output("bash", "--norc", "-c", program)

    assert completed("aiotun", "cap") == ["capture"]
    assert completed("aiotun", "capture", "--wire") == ["--wireshark"]
    assert completed("aiotun", "wireguard", "pa") == ["pair"]
    assert completed("aiotun", "wireguard", "serve", f"{tmp_path}/_aio") == [f"{tmp_path}/_aiotun"]


@pytest.mark.interop
@pytest.mark.requires("fish")
def test_fish(tmp_path: Path) -> None:
    path = script(tmp_path, "fish")

    def completed(line: str) -> list[str]:
        words = output("fish", "--no-config", "-c", f"source {path}; complete -C '{line}'")
        return [word for word in words if word in ("capture", "--wireshark")]

    assert completed("aiotun cap") == ["capture"]
    assert completed("aiotun capture --wire") == ["--wireshark"]


@pytest.mark.interop
@pytest.mark.requires("zsh")
def test_zsh(tmp_path: Path) -> None:
    """The shell takes it for a completion, and knows its functions."""
    folder = script(tmp_path, "zsh").parent
    program = f"""
        fpath=({folder} $fpath); autoload -U compinit; compinit -u -D
        echo $_comps[aiotun]; autoload +X _aiotun; echo ${{+functions[_aiotun]}}
    """
    assert output("zsh", "-f", "-c", program) == ["_aiotun", "1"]
    assert output("zsh", "-n", str(folder / "_aiotun")) == []


def test_without_the_library() -> None:
    program = (
        "import sys; sys.modules['shtab'] = None; from aiotun.cli import main;"
        "sys.exit(main(['completion', 'bash']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "aiotun completion: shtab is missing: pip install 'aiotun[cli]'\n",
    )
