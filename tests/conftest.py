"""How this project's tests run: in a network of their own, bounded, leaving nothing behind."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable

import left_out
import pytest
from hypothesis import settings

from aiotun.native.wanted import unwanted
from aiotun.probes import probe
from aiotun.probes.everywhere import UVLOOP
from aiotun.testing.namespace import become_root, enter_namespace

pytest_plugins = [
    "aiotun.testing.pytest_plugin",
    "pytester",
    "rigs",
    "flow_rigs",
    "implementations",
]

left_out_here = left_out.here()
collect_ignore = [path for path in left_out_here if "::" not in path]

settings.register_profile(
    "aiotun",
    max_examples=50,
    deadline=None,
    print_blob=True,
    derandomize=os.environ.get("CI") == "true",  # chance finds faults, but judges no change
)
settings.load_profile("aiotun")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test that needs an event loop runs on both, or on asyncio's alone without uvloop.

    A factory cannot skip its tests: pytest then fails those that follow in the module.
    """
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "asyncio": asyncio.new_event_loop
    }
    if probe("uvloop").available or os.environ.get("AIOTUN_TEST_REQUIRE") == "all":

        def uvloop() -> asyncio.AbstractEventLoop:
            loop: asyncio.AbstractEventLoop = importlib.import_module(UVLOOP).new_event_loop()
            return loop

        factories["uvloop"] = uvloop
    if sys.platform == "win32":
        factories["selector"] = asyncio.SelectorEventLoop  # asyncio's default is the proactor's
    return factories


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the single tests that are left out here, and of native code where it is unwanted."""
    reason = unwanted()
    for item in items:
        required = {each for mark in item.iter_markers("requires") for each in mark.args}
        if reason and required & {"native", "aead"}:
            item.add_marker(pytest.mark.skip(reason=f"native modules are not wanted: {reason}"))
        name = item.nodeid.removeprefix("tests/")
        for each in {name, name.partition("[")[0]} & left_out_here.keys():
            item.add_marker(pytest.mark.skip(reason=left_out_here[each]))


def pytest_configure(config: pytest.Config) -> None:
    # A shell has what it starts in the background ignore ctrl-C, and so would the tests' programs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _share_bytecode(config)
    _leave_the_network()


def _share_bytecode(config: pytest.Config) -> None:
    """Where none may write beside the package, each program of a test would compile it anew."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        folder = tempfile.TemporaryDirectory(prefix="aiotun-bytecode-", ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        os.environ["PYTHONPYCACHEPREFIX"] = folder.name


def _leave_the_network() -> None:
    """Before any thread exists, so that no test can touch it.

    Without root this takes a user namespace. Where the system forbids both, the
    probes find out what is missing, and the tests that need it are skipped.
    """
    if sys.platform != "linux":
        return
    os.environ["LOGNAME"] = _user()
    try:
        enter_namespace()
    except OSError:
        if _user_namespace_allowed():
            become_root()
            enter_namespace()


def _user() -> str:
    """The name of this user, after which pytest calls its temporary folder.

    Neither may the folder be called after root, as in a user namespace: root's own is
    taken. Nor may it be called after LOGNAME as it was found: setpriv(1) keeps that of
    another user.
    """
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"


def _user_namespace_allowed() -> bool:
    """Try it in a child: a process is of no use after only half of the way was granted."""
    steps = "from aiotun.testing.namespace import *; become_root(); enter_namespace()"
    return not subprocess.run([sys.executable, "-c", steps], stderr=subprocess.DEVNULL).returncode


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not probe("uvloop").available:
        terminalreporter.line(f"nothing was run on uvloop: {probe('uvloop').detail}")
    for path, reason in left_out_here.items():
        terminalreporter.line(f"left out here: {path}, as {reason}")
    interop = [
        item
        for item in terminalreporter.stats.get("deselected", [])
        if item.get_closest_marker("interop")
    ]
    if interop:
        terminalreporter.line(f"{len(interop)} tests with outside tools left to: make interop")
