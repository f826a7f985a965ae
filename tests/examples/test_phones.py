"""The Python half of the phones' apps, with a real TUN, in processes that may do little else.

The refusals are real ones (seccomp). The phones are not here: `phone.py` says what of them is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import outside
import pytest
from machine import ROOT, Program, settings
from restricted import no_netlink, no_netlink_and_hardly_an_ioctl, no_netlink_and_no_ioctl

import aiotun
from aiotun.testing import Namespace
from aiotun.testing.ping import echo_request
from examples.phones.python.vpn import Vpn
from examples.phones.server import serve, tls
from examples.tls_vpn.certificates import SERVER

pytestmark = pytest.mark.requires("tun", "netns")


@pytest.fixture
def fd(namespace: Namespace) -> Iterator[int]:
    """A TUN as a phone's system makes it: no headers, configured, and up."""
    fd = namespace.run(
        aiotun.Device, name="tun0", addresses="10.9.0.2/24", offload=False, ipv6_quiet=True
    ).detach()
    yield fd
    with contextlib.suppress(OSError):
        os.close(fd)


@pytest.fixture
def there() -> Iterator[Namespace]:
    """The network of the server's TUN."""
    with Namespace() as there:
        yield there


@pytest.fixture
async def server(
    namespace: Namespace, there: Namespace, tmp_path: Path
) -> AsyncIterator[list[str]]:
    """The server, as the app names it."""
    with there.run(aiotun.Device, addresses="10.9.0.1/24") as device:
        listener = namespace.run(socket.create_server, ("127.0.0.1", 0))
        async with (
            aiotun.open_device(device=device) as tun,
            await serve(tun, sock=listener, ssl=tls(tmp_path)),
        ):
            port = listener.getsockname()[1]
            yield ["127.0.0.1", str(port), SERVER, str(tmp_path / "ca.pem")]


class App(Program):
    control: socket.socket

    def stop(self) -> None:
        self.control.send(b".")


REFUSALS = {
    "android": no_netlink_and_hardly_an_ioctl,
    "openharmony": no_netlink_and_no_ioctl,
    "sandbox": no_netlink,
}

PHONE = ROOT / "tests" / "support" / "phone.py"


@contextlib.contextmanager
def app(namespace: Namespace, system: str, fd: int, server: list[str]) -> Iterator[App]:
    ours, theirs = socket.socketpair()
    with ours:
        command = [sys.executable, "-X", "dev", str(PHONE), system, str(theirs.fileno()), "1400"]

        def start() -> subprocess.Popen[str]:
            REFUSALS[system]()
            return subprocess.Popen([*command, *server], pass_fds=[theirs.fileno()], **settings())

        with theirs:
            process = namespace.run(start)
        with Program.running(process) as program:
            socket.send_fds(ours, [b"."], [fd])
            os.close(fd)
            app = App(program.process)
            app.control = ours
            yield app


def ping(namespace: Namespace) -> None:
    """The server's kernel answers; until the app has its connection, requests are lost."""
    request = echo_request("10.9.0.2", "10.9.0.1", 4242, 1, b"some data")[20:]
    with namespace.run(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.settimeout(0.2)
        deadline = time.monotonic() + 30
        while True:
            raw.sendto(request, ("10.9.0.1", 0))
            try:
                answer, address = raw.recvfrom(1000)
            except TimeoutError:
                assert time.monotonic() < deadline
                continue
            if answer[20] == 0:  # an echo reply (RFC 792)
                assert (address[0], answer[28:]) == ("10.9.0.1", b"some data")
                return


systems = pytest.mark.parametrize("system", REFUSALS)


@systems
async def test_stopped_by_the_app(
    namespace: Namespace, fd: int, server: list[str], system: str
) -> None:
    with app(namespace, system, fd, server) as phone:
        await asyncio.to_thread(ping, namespace)
        phone.stop()
        assert await asyncio.to_thread(phone.ended) == 0, phone.output
    assert phone.output == "ended: \n"
    assert namespace.run(socket.if_nameindex) == [(1, "lo")]


@systems
async def test_deleted_by_the_system(
    namespace: Namespace, fd: int, server: list[str], system: str
) -> None:
    with app(namespace, system, fd, server) as phone:
        await asyncio.to_thread(ping, namespace)
        namespace.run(outside.delete, "tun0")
        assert await asyncio.to_thread(phone.ended) == 0, phone.output
    assert "the system took it back" in phone.output


async def test_revoked_by_android(
    namespace: Namespace, there: Namespace, fd: int, server: list[str]
) -> None:
    """It sets the interface down; the next packet for it ends the VPN."""
    with app(namespace, "android", fd, server) as phone:
        await asyncio.to_thread(ping, namespace)
        namespace.run(outside.set_up, "tun0", False)
        with there.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"data", ("10.9.0.2", 9))
        assert await asyncio.to_thread(phone.ended) == 0, phone.output
    assert "the system took it back" in phone.output


async def test_a_phone_that_comes_from_another_network(
    namespace: Namespace, fd: int, server: list[str]
) -> None:
    """The server passes packets to the client that came last."""
    trusted = ssl.create_default_context(cafile=server[3])
    sock = namespace.run(socket.create_connection, (server[0], int(server[1])))
    reader, writer = await asyncio.open_connection(sock=sock, ssl=trusted, server_hostname=SERVER)
    with app(namespace, "sandbox", fd, server) as phone:
        await asyncio.to_thread(ping, namespace)
        await reader.read()  # to its end
        phone.stop()
        assert await asyncio.to_thread(phone.ended) == 0, phone.output
    writer.close()


def test_a_server_that_is_not_there(namespace: Namespace, fd: int, tmp_path: Path) -> None:
    tls(tmp_path)
    vpn = Vpn("127.0.0.1", 1, SERVER, (tmp_path / "ca.pem").read_text())
    assert "Connect call failed" in namespace.run(vpn.run, fd, 1400)


def test_stopped_before_it_runs(namespace: Namespace, fd: int, tmp_path: Path) -> None:
    tls(tmp_path)
    vpn = Vpn("192.0.2.1", 1, SERVER, (tmp_path / "ca.pem").read_text())
    vpn.stop()
    assert namespace.run(vpn.run, fd, 1400) == ""


def test_no_utun_here(tmp_path: Path) -> None:
    tls(tmp_path)
    vpn = Vpn("192.0.2.1", 1, SERVER, (tmp_path / "ca.pem").read_text())
    assert "there is no utun on linux" in vpn.run(None, 1400)


def test_the_kotlin_names_what_is_there() -> None:
    """Its compiler knows neither Python's names nor those of the manifest."""
    app = ROOT / "examples" / "phones" / "android" / "app" / "src" / "main"
    kotlin = {path.stem: path.read_text() for path in app.rglob("*.kt")}
    called = re.findall(r'callAttr\("(\w+)"', kotlin["TunnelService"])
    assert sorted(called) == ["Vpn", "run", "stop"]
    assert all(hasattr(Vpn, name) for name in called if name != "Vpn")
    named = re.findall(r'android:name="\.(\w+)"', (app / "AndroidManifest.xml").read_text())
    assert sorted(named) == sorted(kotlin)


# The native half of the apps for OpenHarmony (and, without Node-API, for iOS): Node runs it.


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """libvpn.so, on the system's Python, which has its library."""
    needed = ["/usr/bin/python3-config", "/usr/include/node/node_api.h", "node", "cc"]
    missing = [each for each in needed if not (shutil.which(each) or Path(each).exists())]
    if missing and os.environ.get("AIOTUN_TEST_REQUIRE") != "all":
        pytest.skip(f"without {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("module")
    (folder / "napi").mkdir()
    (folder / "napi" / "native_api.h").write_text("#include <node_api.h>\n")
    options = ["--includes", "--ldflags", "--embed"]
    found = subprocess.run(
        ["/usr/bin/python3-config", *options], check=True, capture_output=True, text=True
    ).stdout.split()
    phones = ROOT / "examples" / "phones"
    sources = [
        phones / "openharmony" / "entry" / "src" / "main" / "cpp" / "napi_vpn.c",
        phones / "native" / "vpn.c",
    ]
    flags = ["-shared", "-fPIC", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
    flags += ["-Wno-unused-parameter", "-I/usr/include/node"]
    command = ["cc", *flags, f"-I{folder}", f"-I{phones / 'native'}", *map(str, sources), *found]
    subprocess.run([*command, "-o", str(folder / "libvpn.so")], check=True)
    return folder / "libvpn.so"


@pytest.mark.interop
@pytest.mark.parametrize("end", ["stop", "delete"])
async def test_the_native_half(
    namespace: Namespace, fd: int, server: list[str], module: Path, tmp_path: Path, end: str
) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "vpn.py").symlink_to(ROOT / "examples" / "phones" / "python" / "vpn.py")
    (folder / "aiotun").symlink_to(ROOT / "aiotun")
    command = ["node", str(ROOT / "tests" / "support" / "phone.js"), str(module), "/usr"]

    def start() -> subprocess.Popen[str]:
        no_netlink_and_no_ioctl()
        arguments = [str(folder), str(fd), "1400", *server]
        options = {**settings(), "stdin": subprocess.PIPE}
        return subprocess.Popen([*command, *arguments], pass_fds=[fd], **options)

    with Program.running(namespace.run(start)) as phone:
        os.close(fd)
        phone.wait_for("under way")
        await asyncio.to_thread(ping, namespace)
        if end == "stop":
            assert phone.process.stdin is not None
            phone.process.stdin.write("\n")
            phone.process.stdin.flush()
        else:
            namespace.run(outside.delete, "tun0")
        assert await asyncio.to_thread(phone.ended) == 0, phone.output
    *refused, ended = phone.output.splitlines()
    assert [re.split(r"[:(]", line)[0] for line in refused] == [
        "fd, mtu and port are numbers",
        "SSLError",
        "a VPN is under way",
    ]
    assert ended == "ended: " if end == "stop" else "took it back" in ended
