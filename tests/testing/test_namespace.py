"""Namespaces: apart from each other, without a trace, and what a user namespace adds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from aiotun.testing.namespace import Namespace, own_sysfs

pytestmark = pytest.mark.requires("netns")


def interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def test_loopback_is_up_and_alone(namespace: Namespace) -> None:
    assert namespace.run(interfaces) == ["lo"]
    with namespace.run(socket.create_server, ("127.0.0.1", 0)) as server:
        client = namespace.run(socket.create_connection, server.getsockname(), 5)
        client.close()


def test_two_namespaces_are_apart(namespace: Namespace) -> None:
    with namespace.run(socket.create_server, ("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with Namespace() as other, pytest.raises(ConnectionRefusedError):
            other.run(socket.create_connection, address, 5)


def test_run_returns_and_raises_what_the_function_does(namespace: Namespace) -> None:
    assert namespace.run(int, "1f", base=16) == 31
    with pytest.raises(ValueError, match="nonsense"):
        namespace.run(int, "nonsense")


def test_calling_thread_stays_where_it_was(namespace: Namespace) -> None:
    before = os.stat("/proc/thread-self/ns/net").st_ino
    inside = namespace.run(os.stat, "/proc/thread-self/ns/net").st_ino
    assert inside == os.fstat(namespace.fileno()).st_ino != before
    assert os.stat("/proc/thread-self/ns/net").st_ino == before


def test_command_runs_inside(namespace: Namespace) -> None:
    program = "import socket; print(socket.if_nameindex())"
    assert namespace.command(sys.executable, "-c", program) == "[(1, 'lo')]\n"
    with pytest.raises(subprocess.CalledProcessError):
        namespace.command("false")


@pytest.mark.requires("sysctl")
def test_sysctl_is_of_the_namespace(namespace: Namespace) -> None:
    path = "/proc/sys/net/ipv4/ip_default_ttl"
    with Namespace() as other:
        namespace.sysctl("net.ipv4.ip_default_ttl", 42)
        assert namespace.command("cat", path) == "42\n"
        assert other.command("cat", path) != "42\n"


@pytest.mark.requires("mountns")
def test_own_sysfs_shows_the_namespace_and_stays_inside(namespace: Namespace) -> None:
    def seen() -> list[str]:
        own_sysfs()
        return os.listdir("/sys/class/net")

    mounts = os.stat("/proc/self/ns/mnt").st_ino
    outside = os.listdir("/sys/class/net")
    assert namespace.run(seen) == ["lo"]
    assert os.listdir("/sys/class/net") == outside
    assert os.stat("/proc/self/ns/mnt").st_ino == mounts


def test_close_is_idempotent() -> None:
    namespace = Namespace()
    namespace.close()
    namespace.close()
    assert namespace.fileno() == -1
    with pytest.raises(OSError, match="setns"):
        namespace.run(interfaces)


@pytest.mark.requires("userns")
def test_become_root_in_a_process_of_its_own() -> None:
    program = (
        "import os; from aiotun.testing.namespace import become_root, enter_namespace;"
        "become_root(); enter_namespace(); print(os.getuid(), os.getgid())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0 0\n", "")
