"""Programs of this project as a user without any privilege, who may open the TUN node."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import outside
import pytest
from machine import ROOT, settings

from aiotun.cancelling import Closing
from aiotun.testing import Namespace

__all__ = ["Unprivileged"]

NOBODY = 65534

SYSTEM_PYTHON = "/usr/bin/python3"
"""The one that everybody may run. That of the tests may be in root's home."""


class Unprivileged(Closing):
    """A folder that everybody may read, with the package in it and the libraries that are named.

    The libraries are for the interpreter of the tests: the test that names some is skipped
    where the system's is of another version.
    """

    def __init__(self, *libraries: str) -> None:
        outside.require_other_users()
        self.python = SYSTEM_PYTHON
        version = "import sys; print(*sys.version_info[:2])"
        found = subprocess.run([self.python, "-c", version], capture_output=True, text=True)
        if libraries and found.stdout.split() != list(map(str, sys.version_info[:2])):
            pytest.skip(f"{self.python} is not of this version")
        self.folder = Path(tempfile.mkdtemp(prefix="aiotun-unprivileged-"))
        self.folder.chmod(0o755)
        shutil.copytree(ROOT / "aiotun", self.folder / "aiotun")
        site = Path(sysconfig.get_path("platlib"))
        for pattern in libraries:
            for path in site.glob(pattern):
                if path.is_dir():
                    shutil.copytree(path, self.folder / path.name)
                else:
                    shutil.copy(path, self.folder)

    def file(self, name: str, text: str) -> Path:
        """A file of the user's own."""
        path = self.folder / name
        path.touch(0o600)
        path.write_text(text)
        os.chown(path, NOBODY, NOBODY)
        return path

    def close(self) -> None:
        shutil.rmtree(self.folder)

    def start(self, namespace: Namespace, *arguments: str) -> subprocess.Popen[str]:
        """Start Python in the namespace with these arguments."""

        def start() -> subprocess.Popen[str]:
            outside.replace_node(lambda path: outside.make_node(path, 10, 200))
            command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            options = settings()
            options["env"]["PYTHONPATH"] = str(self.folder)
            options["env"]["HOME"] = str(self.folder)
            return subprocess.Popen([*command, self.python, *arguments], **options, cwd=self.folder)

        return namespace.run(start)
