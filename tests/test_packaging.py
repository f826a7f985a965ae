"""What is handed out is whole, and what development installs is pinned."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

GROUPS = ("build", "uvloop", "dev", "docs", "wheels", "kernels", "bench")

PINNED = re.compile(
    r"^([\w.-]+)==\S+(?: ; [^\\]+)? \\\n(?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", re.MULTILINE
)
"""A requirement of one version, with the hash of each of its files."""


def tracked() -> list[str]:
    """The files of the project; the test is skipped where git does not know them."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no checkout of git")
    return [name for name in done.stdout.splitlines() if (ROOT / name).exists()]


def test_source_distribution_holds_everything(tmp_path: Path) -> None:
    """It is built from a copy without git, as from the distribution itself."""
    files = tracked()
    for name in files:
        copy = tmp_path / "tree" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-W", "ignore", "setup.py", "-q", "sdist", "--dist-dir", str(tmp_path)],
        cwd=tmp_path / "tree",
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    left_out = {name for name in files if name not in held}
    assert {name for name in left_out if not name.startswith((".ci/", ".github/"))} == {
        ".gitignore"
    }


@pytest.mark.parametrize("group", GROUPS)
def test_dependencies_are_locked_with_hashes(group: str) -> None:
    text = (ROOT / "requirements" / f"{group}.txt").read_text()
    assert re.sub(r"^#.*\n", "", PINNED.sub("", text), flags=re.MULTILINE) == ""
    locked = {name.lower() for name in PINNED.findall(text)}
    groups = (ROOT / "pyproject.toml").read_text().partition("[dependency-groups]")[2]
    (listed,) = re.findall(rf"^{group} = \[(.*?)\]$", groups, re.MULTILINE | re.DOTALL)
    wanted = {name.lower() for name in re.findall(r'"([\w.-]+)', listed)}
    assert wanted
    assert wanted <= locked


def test_actions_are_pinned_by_commit() -> None:
    workflows = list((ROOT / ".github" / "workflows").glob("*.yml"))
    if not workflows:
        pytest.skip("a source distribution has no workflows")
    for workflow in workflows:
        used = re.findall(r"uses: (.*)", workflow.read_text())
        assert used
        assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+(\.\d+)+", action) for action in used)
