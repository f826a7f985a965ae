"""aiotun wireguard: what docs/wireguard.md says to type, and what it answers."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from pathlib import Path

import pytest
from machine import ROOT, Machine, program
from waiting import wait_until

from aiotun.wireguard.config_file import parse_config
from aiotun.wireguard.keys import decode_key, encode_key, public_key_of
from benchmarks.wireguard.nodes import connect, give_address

DOCUMENT = ROOT / "docs" / "wireguard.md"

pytestmark = pytest.mark.requires("tun", "netns", "mountns", "ip")


ON_A_TERMINAL = (
    *(sys.executable, "-c"),
    "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))",
)
"""What a command is started behind."""


def commands_of_the_document() -> list[list[str]]:
    """Each command in its first part, without sudo."""
    found = re.findall(r"^    (?:sudo )?aiotun wireguard (.+)$", DOCUMENT.read_text(), re.M)
    return [command.partition("#")[0].split() for command in found]


def test_the_commands_of_the_document(machine: Machine, tmp_path: Path) -> None:
    pair, serve, status, *others = commands_of_the_document()
    assert (pair[0], serve[0], status[0]) == ("pair", "serve", "status")
    output = machine.run(*ON_A_TERMINAL, *program(*pair), cwd=tmp_path)
    assert "▀" in output
    with machine.running(*program(*serve), cwd=tmp_path) as server:
        server.wait_for("wg0 is up at UDP port 51820, peers: 1, addresses: 10.9.0.1/24, fd")
        assert machine.run("ip", "-o", "address", "show", "wg0").count("10.9.0.1/24") == 1
        shown = machine.run(*program(*status, "--once"))
        assert "wg0, UDP port 51820" in shown
        assert "never" in shown
        for command in others:
            machine.run(*program(*command), cwd=tmp_path)
        server.wait_for("peers: 2")  # the server saw its file change
        assert "10.9.0.3/32" in machine.run(*program("status", "wg0", "--once"))
        server.end(signal.SIGINT)
    assert "wg0" not in machine.run("ip", "link")
    machine.run(*program("status", "wg0", "--once"), status=1)


@pytest.mark.interop
@pytest.mark.requires("ping")
def test_a_pair_reaches_each_other_and_more_join(machine: Machine, tmp_path: Path) -> None:
    with Machine() as client:
        connect(machine.namespace, client.namespace)
        give_address(machine.namespace, "eth0", "192.0.2.1/24")
        give_address(client.namespace, "eth0", "192.0.2.2/24")
        pair = ("pair", "--endpoint", "192.0.2.1", "--network", "10.9.0.0/24")
        machine.run(*program(*pair), cwd=tmp_path)
        with machine.running(*program("serve"), cwd=tmp_path) as server:
            server.wait_for("wg0 is up")
            with client.running(*program("serve", "phone.conf"), cwd=tmp_path) as phone:
                phone.wait_for("phone is up")
                client.run("ping", "-c", "2", "-i", "0.1", "-W", "5", "10.9.0.1")
                shown = machine.run(*program("status", "--once"))
                assert "192.0.2.2:" in shown.replace("\n", "")
                assert "s ago" in shown
                machine.run(*program(*pair[:1], "laptop.conf", *pair[1:3]), cwd=tmp_path)
                server.wait_for("peers: 2")
                with client.running(*program("serve", "laptop.conf"), cwd=tmp_path) as laptop:
                    laptop.wait_for("laptop is up")
                    ping = ("ping", "-c", "2", "-i", "0.1", "-W", "5", "10.9.0.1")
                    client.run(*ping, "-I", "laptop")
                    client.run(*ping, "-I", "phone")  # the session of the first has stayed
                    laptop.end(signal.SIGINT)
                phone.end(signal.SIGINT)
            server.end(signal.SIGINT)


def test_what_changes_in_the_file_changes_the_system(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "wg9.conf"
    text = (
        "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"
        "Address = 10.9.0.1/24\nDNS = 10.9.0.53\nMTU = 1400\n"
        "[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n"
        "AllowedIPs = 10.9.0.2/32, 10.20.0.0/16, fd20::/64\n"
    )
    path.write_text(text)
    path.chmod(0o600)
    with machine.running(*program("serve", str(path), "--no-uapi")) as server:
        server.wait_for("DNS is not set, for want of resolvectl or resolvconf: 10.9.0.53")
        server.wait_for("wg9 is up")
        routes = machine.run("ip", "route")
        assert "10.20.0.0/16 dev wg9" in routes
        assert "10.9.0.2" not in routes  # the network of the address leads there
        assert "fd20::/64 dev wg9" in machine.run("ip", "-6", "route")
        path.write_text(
            text.replace("10.9.0.1/24", "10.8.0.1/24")
            .replace("10.20.0.0", "10.30.0.0")
            .replace("1400", "1300")
        )
        server.wait_for("addresses: 10.8.0.1/24")
        routes = machine.run("ip", "route")
        assert "10.30.0.0/16 dev wg9" in routes
        assert "10.20.0.0/16" not in routes
        assert "10.9.0.2 dev wg9" in routes
        shown = machine.run("ip", "address", "show", "wg9")
        assert "10.8.0.1/24" in shown
        assert "10.9.0.1" not in shown
        assert "mtu 1300" in shown
        path.write_text(text + "AllowedIPs = everything\n")
        server.wait_for("wg9.conf, line 9: AllowedIPs: .* what held before holds on")
        server.end(signal.SIGTERM)


REFUSED = """\
[Interface]
PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=
Address = 10.9.0.7/24, ff02::9/64
MTU = 1280
[Peer]
PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
AllowedIPs = 10.30.0.0/16
[Peer]
PublicKey = TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=
AllowedIPs = 10.40.0.0/16
"""
"""Addresses of which the kernel takes the first."""


@pytest.mark.requires("ipv6")
def test_a_file_that_is_put_back(machine: Machine, tmp_path: Path) -> None:
    """What was made of one that the system refuses in part is undone."""
    path = tmp_path / "wg9.conf"
    text = REFUSED.partition("[Peer]\nPublicKey = Tr")[0].replace("MTU = 1280\n", "")
    text = text.replace("10.9.0.7/24, ff02::9/64", "10.9.0.1/24, fe80::9/64")
    path.write_text(text)
    path.chmod(0o600)

    def shown() -> list[str]:
        return [
            machine.run("ip", "-oneline", "address", "show", "wg9"),
            machine.run("ip", "link", "show", "wg9"),
            machine.run("ip", "route"),
            machine.run("wg", "show", "wg9", "peers"),
        ]

    with machine.running(*program("serve", str(path))) as server:
        server.wait_for("wg9 is up")
        before = shown()
        assert "10.30.0.0/16 dev wg9" in before[2]
        path.write_text(REFUSED)
        server.wait_for("what has changed holds in part: address ff02::9/64 cannot be added")
        path.write_text(text)
        wait_until(lambda: shown() == before)  # settings and peers come one after the other
        server.rewrite(path, text.replace("10.9.0.1/24, fe80::9", "10.9.0.2/24, fe80::7"))
        wait_until(lambda: "fe80::7" in shown()[0] and "fe80::9" not in shown()[0])
        wait_until(lambda: "10.30.0.0/16 dev wg9" in shown()[2])
        server.end(signal.SIGTERM)


EVERYTHING = [
    "0.0.0.0/0, ::/0",
    "0.0.0.0/1, 128.0.0.0/1, ::/1, 8000::/1",
    "128.0.0.0/1, ::/0, 0.0.0.0/1, 0.0.0.0/0",
]


@pytest.mark.parametrize("everything", EVERYTHING, ids=["default", "halves", "both"])
def test_a_default_route_is_for_all_but_our_own_datagrams(
    machine: Machine, tmp_path: Path, everything: str
) -> None:
    path = tmp_path / "wg9.conf"
    path.write_text(
        "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"
        "Address = 10.9.0.2/24, fd09::2/64\n"
        "[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n"
        f"AllowedIPs = {everything}\nEndpoint = 192.0.2.1:51820\nPersistentKeepalive = 25\n"
    )
    path.chmod(0o600)

    def way(*words: str) -> str:
        return machine.run("ip", "route", "get", *words).split(" src ")[0]

    machine.run("ip", "link", "add", "eth0", "type", "veth", "peer", "eth1")
    machine.run("ip", "address", "add", "198.51.100.2/24", "dev", "eth0")
    machine.run("ip", "link", "set", "eth1", "up")
    machine.run("ip", "link", "set", "eth0", "up")
    machine.run("ip", "route", "add", "default", "via", "198.51.100.1")
    rules = machine.run("ip", "rule") + machine.run("ip", "-6", "rule")
    without_programs = ("/usr/bin/env", "PATH=/nonexistent")
    with machine.running(*without_programs, *program("serve", str(path))) as server:
        server.wait_for("wg9 is up")
        assert way("203.0.113.1") == "203.0.113.1 dev wg9 table 51820"
        assert way("2001:db8::1").startswith("2001:db8::1 from :: dev wg9 table 51820")
        assert way("192.0.2.1", "mark", "51820").startswith("192.0.2.1 via 198.51.100.1 dev eth0")
        assert way("198.51.100.9") == "198.51.100.9 dev eth0"  # what is nearer stays near
        # The first handshake message is on that way: the gateway was asked for.
        assert machine.run("ip", "neighbour", "show", "198.51.100.1").startswith("198.51.100.1 dev")
        server.rewrite(path, path.read_text().replace(everything, "203.0.113.0/24"))
        server.wait_for("wg9 has changed")
        assert way("203.0.113.1").startswith("203.0.113.1 dev wg9")
        assert way("192.0.2.1").startswith("192.0.2.1 via 198.51.100.1 dev eth0")
        assert machine.run("ip", "rule") + machine.run("ip", "-6", "rule") == rules
        server.rewrite(path, path.read_text().replace("203.0.113.0/24", "0.0.0.0/0"))
        server.wait_for("wg9 has changed")
        assert way("203.0.113.1") == "203.0.113.1 dev wg9 table 51820"
        server.end(signal.SIGTERM)
    assert machine.run("ip", "rule") + machine.run("ip", "-6", "rule") == rules


@pytest.mark.parametrize("ended", [0, 1])
def test_two_default_routes(machine: Machine, tmp_path: Path, ended: int) -> None:
    """Each has a mark of its own; the end of one is not the other's."""
    paths = [tmp_path / f"wg{number}.conf" for number in (8, 9)]
    for path in paths:
        path.write_text(
            "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"
            "[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n"
            "AllowedIPs = 0.0.0.0/0\n"
        )
        path.chmod(0o600)

    def rules() -> list[str]:
        return [line.split(":")[1].strip() for line in machine.run("ip", "rule").splitlines()]

    def of(number: int) -> list[str]:
        mark = 51820 + number
        return [
            "from all lookup main suppress_prefixlength 0",
            f"not from all fwmark {mark:#x} lookup {mark}",
        ]

    local, *others = rules()
    with machine.running(*program("serve", str(paths[0]))) as first:
        first.wait_for("wg8 is up")
        with machine.running(*program("serve", str(paths[1]))) as second:
            second.wait_for("wg9 is up")
            assert rules() == [local, *of(1), *of(0), *others]
            programs = [first, second]
            programs.pop(ended).end(signal.SIGTERM)
            assert rules() == [local, *of(1 - ended), *others]
            programs.pop().end(signal.SIGTERM)
    assert rules() == [local, *others]


def test_a_table_and_none(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "wg9.conf"
    text = (
        "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\nTable = 1234\n"
        "[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n"
        "AllowedIPs = 0.0.0.0/0, 10.20.0.0/16\n"
    )
    path.write_text(text)
    path.chmod(0o600)
    with machine.running(*program("serve", str(path), "--no-uapi")) as server:
        server.wait_for("wg9 is up")
        found = machine.run("ip", "route", "show", "table", "1234")
        assert [line.split()[0] for line in found.splitlines()] == ["default", "10.20.0.0/16"]
        assert "lookup 1234" not in machine.run("ip", "rule")
        server.rewrite(path, text.replace("1234", "off"))
        server.wait_for("wg9 has changed")
        assert machine.run("ip", "-4", "route", "show", "table", "all", "dev", "wg9") == ""
        server.end(signal.SIGTERM)


def test_commands_around_and_the_file_saved(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "wg9.conf"
    path.write_text(
        "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"
        "SaveConfig = true\n"
        + "".join(
            f"{name} = echo {name} %i; ip link show %i >/dev/null 2>&1 && echo there\n"
            for name in ("PreUp", "PostUp", "PreDown", "PostDown")
        ).replace(">&1 && echo there\nPostUp", ">&1 || true\nPostUp")
        + "PostDown = true\n"
    )
    path.chmod(0o600)
    refused = machine.run(*program("serve", str(path)), status=1)
    assert "line 4: PreUp runs a command" in refused
    path.write_text(re.sub(r"(PostDown = echo .*)&& echo there", r"\1|| true", path.read_text()))
    with machine.running(*program("serve", str(path), "--allow-commands")) as server:
        server.wait_for("^PreUp wg9")
        server.wait_for("^PostUp wg9")
        server.wait_for("^there")
        server.wait_for("wg9 is up")
        server.end(signal.SIGTERM)
    assert re.search(r"PreDown wg9\nthere\n(.*\n)?PostDown wg9\n", server.output)
    saved = parse_config(path.read_text(), allow_commands=True)
    assert saved.listen_port  # the system's choice


@pytest.mark.requires("wg")
def test_the_wg_tool_works_in_the_commands(machine: Machine, tmp_path: Path) -> None:
    """In the order of wg-quick 1.0.20260223: PreUp finds the interface, without what the file
    says of it, and the key that it sets stays."""
    path = tmp_path / "wg9.conf"
    other = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
    names = ("PreUp", "PostUp", "PreDown")
    (tmp_path / "key").write_text("yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=")
    show = "echo NAME $(wg show %i public-key) '#' $(wg show %i allowed-ips) # $(false)"
    path.write_text(
        "[Interface]\nListenPort = 51820\nAddress = 10.9.0.1/24\n"
        "PreUp = ip link show %i >/dev/null\n"
        + f"PreUp = {show}\nPreUp = wg set %i private-key {tmp_path}/key\n".replace("NAME", "new")
        + "".join(f"{name} = {show.replace('NAME', name)}\n" for name in names)
        + "PostDown = echo PostDown; ! ip link show %i 2>/dev/null\n"
        f"[Peer]\nPublicKey = {other}\nAllowedIPs = 10.9.0.2/32\n"
    )
    path.chmod(0o600)
    with machine.running(*program("serve", str(path), "--allow-commands")) as server:
        server.wait_for("wg9 is up")
        server.end(signal.SIGTERM)
    own = encode_key(public_key_of(decode_key((tmp_path / "key").read_text())))
    assert re.findall("^(?:new|Pre|Post).*", server.output, re.M) == [
        "new (none) #",
        f"PreUp {own} #",
        f"PostUp {own} # {other} 10.9.0.2/32",
        f"PreDown {own} # {other} 10.9.0.2/32",
        "PostDown",
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("PreUp = exit 3\n", "failed with status 3: exit 3"),
        ("PostUp = exit 3\n", "failed with status 3: exit 3"),
    ],
    ids=["PreUp", "PostUp"],
)
def test_a_failed_start_leaves_nothing(
    machine: Machine, tmp_path: Path, lines: str, message: str
) -> None:
    """Nor does it run the commands of the end, as wg-quick does not."""
    path = tmp_path / "wg9.conf"
    path.write_text(
        "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"
        "PreDown = echo PreDown\nPostDown = echo PostDown\n" + lines
    )
    path.chmod(0o600)
    output = machine.run(*program("serve", str(path), "--allow-commands"), status=1)
    assert message in output
    assert "Warning" not in output  # that a coroutine was never awaited
    assert "Down" not in output
    assert "wg9" not in machine.run("ip", "link")
    assert machine.run("ls", "/run/wireguard") == ""


def test_a_second_one_of_the_same_name(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "wg9.conf"
    path.write_text("[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n")
    path.chmod(0o600)
    with machine.running(*program("serve", str(path))) as server:
        server.wait_for("wg9 is up")
        output = machine.run(*program("serve", str(path)), status=1)
        assert "wg9" in output
        assert "Warning" not in output
        machine.run(*program("show", "wg9", "--once"))
        server.end(signal.SIGTERM)


def test_it_ends_with_its_socket_and_with_its_interface(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "wg9.conf"
    path.write_text("[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n")
    path.chmod(0o600)
    with machine.running(*program("serve", str(path))) as server:
        server.wait_for("wg9 is up")
        machine.run("rm", "/var/run/wireguard/wg9.sock")
        assert server.ended() == 0
    with machine.running(*program("serve", str(path))) as server:
        server.wait_for("wg9 is up")
        machine.run("ip", "link", "delete", "wg9")
        assert server.ended() == 1
        assert "was deleted" in server.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("serve", "nothing.conf"), "nothing.conf: No such file or directory"),
        (("status",), "no interface is up"),
        (("status", "wg9"), "nobody answers at /var/run/wireguard/wg9.sock"),
        (("status", "../wg9"), "'../wg9' is no name of an interface"),
        (("serve", "--name", "wg;reboot", "wg0.conf"), "'wg;reboot' is no name of an interface"),
        (("serve", "--name", "wg%d", "wg0.conf"), "'wg%d' is no name of an interface"),
        (("serve", "wg 0.conf"), "'wg 0' is no name of an interface"),
        (("pair", "--endpoint", "a b"), "is not host:port"),
        (("pair", "x\n[Peer].conf", "--endpoint", "a"), "is no name of an interface"),
        (("pair", "--endpoint", "a", "--network", "10.0.0.1/24"), "has host bits set"),
    ],
    ids=[
        "no file",
        "no interface",
        "no such interface",
        "path",
        "shell",
        "format",
        "no name",
        "no endpoint",
        "newline",
        "no network",
    ],
)
def test_errors_in_plain_words(
    machine: Machine, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    output = machine.run(*program(*words), cwd=tmp_path, status=1)
    assert message in output
    assert output.count("\n") == 1


@pytest.mark.requires("ipv6")
def test_an_interface_that_others_have_down_for_a_while(machine: Machine, tmp_path: Path) -> None:
    """With it go its routes, and its addresses of IPv6."""
    (tmp_path / "wg0.conf").write_text(
        "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"
        "Address = 10.9.0.1/24, fd09::1/64\nFwMark = 51820\n"
        "[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n"
        "AllowedIPs = 10.20.0.0/16, fd20::/64, 0.0.0.0/0\n"
    )
    (tmp_path / "wg0.conf").chmod(0o600)

    def shown() -> list[str]:
        asked = ("route", "-6 route", "route show table 51820", "-6 address show dev wg0")
        return [machine.run("ip", *words.split()) for words in asked]

    with machine.running(*program("serve"), cwd=tmp_path) as server:
        server.wait_for("wg0 is up")
        before = shown()
        assert "10.20.0.0/16 dev wg0" in before[0]
        machine.run("ip", "link", "set", "wg0", "down")
        assert shown()[:3] == ["", "", ""]
        machine.run("ip", "link", "set", "wg0", "up")
        wait_until(lambda: shown() == before)
        server.end(signal.SIGTERM)


def test_a_configuration_out_of_a_pipe(machine: Machine, tmp_path: Path) -> None:
    """A pipe into which nobody writes is refused; what a shell gives is taken, and changes no
    more."""
    path = tmp_path / "wg0.conf"
    os.mkfifo(path)
    output = machine.run(*program("serve"), cwd=tmp_path, status=1)
    assert output == "aiotun wireguard: wg0.conf: nothing comes out of it\n"
    path.unlink()
    machine.run(*program("pair", "--endpoint", "192.0.2.1"), cwd=tmp_path)
    serve = shlex.join(program("serve", "--name", "wg0"))
    with machine.running("bash", "-c", f"exec {serve} <(cat wg0.conf)", cwd=tmp_path) as server:
        server.wait_for("wg0 is up at UDP port 51820, peers: 1")
        server.process.send_signal(signal.SIGHUP)
        shown = machine.run(*program("status", "--once"))
        assert "51820" in shown
        server.end(signal.SIGTERM)
    assert "what held before" not in server.output
