"""aiotun completion: a script with which a shell completes the commands and their options."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from . import COMMANDS, make_parser

__all__ = ["add_arguments", "main"]

SHELLS = {
    "bash": "aiotun completion bash > ~/.local/share/bash-completion/completions/aiotun",
    "zsh": "aiotun completion zsh > _aiotun, in a folder of $fpath",
    "fish": "aiotun completion fish > ~/.config/fish/completions/aiotun.fish",
}
"""Each with where its script belongs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "where the script belongs:\n  " + "\n  ".join(SHELLS.values())
    parser.add_argument("shell", choices=list(SHELLS))


def main(args: argparse.Namespace) -> int:
    """Print the script; return 1 where shtab is missing."""
    try:
        import shtab
    except ModuleNotFoundError as exc:
        print(
            f"aiotun completion: {exc.name} is missing: pip install 'aiotun[cli]'", file=sys.stderr
        )
        return 1
    parser = make_parser(filter(_is_complete, COMMANDS))
    _complete_files(parser, shtab.FILE)
    script = shtab.complete(parser, args.shell) + "\n"
    sys.stdout.buffer.write(script.encode())  # a shell takes no CR, which Windows would put in
    return 0


def _complete_files(parser: argparse.ArgumentParser, files: object) -> None:
    """Have the names of files where an argument is one."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _complete_files(each, files)
        elif action.type is Path or action.metavar == "FILE":
            action.complete = files  # type: ignore[attr-defined]


def _is_complete(name: str) -> bool:
    """Whether what the command takes is installed; without it, only its name is completed."""
    with suppress(SystemExit):
        make_parser([name])
        return True
    return False
