"""The tree of errors, and what an error says to do."""

from __future__ import annotations

import errno
import re

import pytest

from aiotun import errors


def drawn() -> dict[str, str]:
    """By its name, what an error's line in the tree hangs from."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"(    [ │├└─]*)([A-Z]\w+)", line)
        if found is None:
            continue
        depth, name = len(found[1]), found[2]
        above = [each for each in above if each[0] < depth]
        if above:
            parents[name] = above[-1][1]
        above.append((depth, name))
    return parents


def test_the_tree_is_drawn_as_it_is() -> None:
    tree = {name: getattr(errors, name).__bases__[0].__name__ for name in errors.__all__}
    assert drawn() == tree


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        ("NotPermittedError", PermissionError),
        ("ConfigError", ValueError),
        ("InterruptError", InterruptedError),
    ],
)
def test_what_python_calls_it(error: str, builtin: type[Exception]) -> None:
    assert issubclass(getattr(errors, error), builtin)


@pytest.mark.parametrize(
    ("remedies", "words"),
    [
        ((), "no"),
        (("do this",), "no: do this"),
        (("do this", "do that"), "no: do this; or do that"),
    ],
)
def test_remedies_end_the_message(remedies: tuple[str, ...], words: str) -> None:
    error = errors.NotPermittedError(errno.EPERM, "no", "/dev/net/tun", remedies=remedies)
    assert error.remedies == remedies
    assert (error.errno, error.strerror, error.filename) == (errno.EPERM, words, "/dev/net/tun")
    assert str(errors.TunError(errno.EPERM, "no", remedies=remedies)) == f"[Errno 1] {words}"
