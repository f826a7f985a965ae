"""The command line itself: `aiotun` and `python -m aiotun`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from aiotun import cli
from aiotun.cli import doctor


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        cli.main([name, "--help"])
    assert exited.value.code == 0
    assert cli.COMMANDS[name].split(",")[0] in capsys.readouterr().out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"aiotun {cli.version()}\n"


def test_version_of_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(cli, "metadata", missing)
    assert cli.version() == "run from its source, not installed"


def test_without_a_command_all_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([])
    shown = capsys.readouterr().err
    assert set(cli.COMMANDS) <= set(shown.split())


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["doctor", "--no-such-option"]])
def test_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        cli.main(arguments)
    assert exited.value.code == 2
    assert capsys.readouterr().err.startswith("usage: aiotun")


def test_an_unknown_argument_is_told_by_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["doctor", "vpn0"])
    error = capsys.readouterr().err
    assert error.startswith("usage: aiotun doctor")
    assert error.endswith("aiotun doctor: error: unrecognized arguments: vpn0\n")


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "inf"])
@pytest.mark.parametrize(
    "words",
    [
        ["bench", "--seconds"],
        ["capture", "--seconds"],
        ["capture", "--file-time"],
        ["demo", "--seconds"],
        ["watch", "--interval"],
    ],
    ids=" ".join,
)
def test_times_are_above_zero(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        cli.main([*words, text])
    assert exited.value.code == 2
    assert f"{text!r} is no number of seconds above 0" in capsys.readouterr().err


def test_a_command_is_imported_when_it_is_asked_for() -> None:
    program = (
        "import sys; from aiotun import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: print(*(name in sys.modules for name in sys.argv[1:]))"
    )
    modules = [f"aiotun.cli.{name}" for name in cli.COMMANDS]
    done = subprocess.run(
        [sys.executable, "-c", program, *modules], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.splitlines()[-1].split()) == {"False"}


@pytest.mark.parametrize("name", ["cryptography", "nacl", "rich", "segno"])
def test_what_the_extra_brings_is_named(name: str) -> None:
    program = (
        "import sys; from aiotun import cli; sys.modules[sys.argv[1]] = None\n"
        "cli.main(['wireguard', '--help'])"
    )
    command = [sys.executable, "-c", program, name]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"aiotun wireguard: {name}")
    assert done.stderr.endswith(" is missing: pip install 'aiotun[wireguard]'\n")


@pytest.mark.parametrize("status", [0, 1])
def test_exit_status_is_the_commands(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "main", lambda args: status)
    assert cli.main(["doctor"]) == status


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "main", interrupted)
    assert cli.main(["doctor"]) == 130


SHORT = ["--help", "doctor", "demo --memory --seconds 0.1"]
"""Commands that print something anywhere, and end."""


def command(words: str) -> list[str]:
    return [sys.executable, "-m", "aiotun", *words.split()]


@pytest.mark.parametrize("words", SHORT)
def test_a_reader_that_has_gone(words: str) -> None:
    with subprocess.Popen(
        command(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", SHORT[1:])  # argparse passes over it
def test_a_full_disk(words: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(command(words), stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "aiotun: No space left on device\n"


@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes them")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_streams_that_are_closed(closed: str) -> None:
    shell = ["sh", "-c", f'"$0" "$@" {closed}', *command("demo --memory --seconds 0.1")]
    done = subprocess.run(shell, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ""
    assert ("Done in" in done.stdout) == (">&-" not in closed.replace("2>&-", ""))
