"""The tree of errors, and what an error says to do."""

from __future__ import annotations

import copy
import errno
import pickle
import re
from collections.abc import Callable, Iterator

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


MADE: list[errors.TunError] = [
    errors.NotPermittedError(errno.EPERM, "no", "/dev/net/tun", remedies=("do this", "do that")),
    errors.ConfigError("no"),
    errors.RouteError("File exists", errno.EEXIST),
    errors.PathMTUError(1280, ("192.0.2.1", 51820)),
    errors.InterruptError("a value"),
    errors.ClosedError(),
]


def below(kind: type[Exception]) -> Iterator[type[Exception]]:
    for each in kind.__subclasses__():
        yield each
        yield from below(each)


def test_constructors() -> None:
    """Each that a class of ours has for itself has an error in this list."""
    of_its_own = {
        kind for kind in [errors.TunError, *below(errors.TunError)] if "__init__" in vars(kind)
    }
    made = {next(each for each in type(one).__mro__ if "__init__" in vars(each)) for one in MADE}
    assert made == of_its_own


@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_an_error_in_another_process(
    error: errors.TunError, again: Callable[[errors.TunError], errors.TunError]
) -> None:
    found = again(error)
    assert type(found) is type(error)
    assert (str(found), found.args, vars(found)) == (str(error), error.args, vars(error))
    assert (found.errno, found.filename) == (error.errno, error.filename)


@pytest.mark.parametrize("kind", [errors.AddressError, errors.RouteError, errors.MACError])
def test_what_the_system_refuses_has_its_number(kind: type[errors.ConfigError]) -> None:
    assert kind("no").errno == errno.EINVAL
    assert str(kind("there: File exists", errno.EEXIST)) == "[Errno 17] there: File exists"
