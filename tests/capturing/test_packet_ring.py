"""PacketRing and `aiotun capture`: what others' devices carry, as the kernel shows it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import restricted
from capture_files import INBOUND, OUTBOUND, read
from limits import files_up_to
from machine import settings
from packets import ethernet, udp
from rigs import packet, segments

import aiotun
from aiotun.capturing.linux import PacketRing
from aiotun.testing import Namespace
from aiotun.testing.ping import echo_request

assert sys.platform == "linux"

pytestmark = pytest.mark.requires("tun", "netns", "libpcap")

REQUEST = echo_request("10.9.0.2", "10.9.0.1", 1, 1, b"hello")


@pytest.fixture
def device(namespace: Namespace) -> Iterator[aiotun.Device]:
    device = namespace.run(aiotun.Device, name="cap0", addresses=["10.9.0.1/24"], ipv6_quiet=True)
    with device:
        yield device


@contextmanager
def capturing(namespace: Namespace, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command, once it captures; killed if it has not ended."""
    command = [sys.executable, "-m", "aiotun", "capture", *arguments]
    pipes = {**settings(), "stderr": subprocess.PIPE}
    process = namespace.run(subprocess.Popen, command, **pipes)
    with process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert "capturing" in line, line + process.stderr.read()
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], number: int | None = signal.SIGINT) -> tuple[int, str]:
    if number is not None:
        process.send_signal(number)
    errors = process.communicate(timeout=50)[1]
    return process.returncode, errors


def exchange(device: aiotun.Device) -> tuple[bytes, bytes]:
    device.send(REQUEST)
    while (reply := device.recv(timeout=20))[0] != 0x45:  # IPv6 speaks when an interface comes up
        pass
    return REQUEST, reply


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_device_of_another_program(
    namespace: Namespace, device: aiotun.Device, tmp_path: Path, number: int
) -> None:
    path = tmp_path / "x.pcapng"
    with capturing(namespace, "cap0", "-w", str(path), "icmp", "or", "tcp") as process:
        device.send(udp(4, b"not this"))
        request, reply = exchange(device)
        assert ended(process, number) == (
            0,
            "2 packets captured, 0 lost because the buffer was full\n",
        )
    contents = read(path)
    assert contents.packets == [(request, INBOUND, ""), (reply, OUTBOUND, "")]
    (interface,) = contents.interfaces
    assert (interface["if_name"], interface["if_filter"]) == ("cap0", (0, b"icmp or tcp"))
    assert contents.statistics[-1]["isb_ifdrop"] == 0


@pytest.mark.parametrize("split", [False, True])
def test_super_packets(
    namespace: Namespace, device: aiotun.Device, tmp_path: Path, split: bool
) -> None:
    path = tmp_path / "x.pcapng"
    options = ["--split"] if split else []
    with capturing(namespace, *options, "cap0", "-w", str(path)) as process:
        device.send_many(segments(4))
        ended(process)
    packets = [data for data, _, _ in read(path).packets]
    if split:
        assert packets == segments(4)
    else:
        assert [len(each) for each in packets] == [sum(map(len, segments(4))) - 3 * 40]


def test_super_packets_are_split_before_they_are_cut(
    namespace: Namespace, device: aiotun.Device, tmp_path: Path
) -> None:
    path = tmp_path / "x.pcapng"
    with capturing(namespace, "--split", "-s", "60", "cap0", "-w", str(path)) as process:
        device.send_many(segments(4))
        ended(process)
    contents = read(path)
    assert [data for data, _, _ in contents.packets] == [each[:60] for each in segments(4)]
    assert contents.sizes == list(map(len, segments(4)))


@pytest.mark.parametrize("size", [1000, 20])
def test_frames_of_a_tap_keep_their_vlan_tags(
    namespace: Namespace, tmp_path: Path, size: int
) -> None:
    """Which the kernel takes out of the packets that it shows."""
    path = tmp_path / "x.pcapng"
    tagged = bytes(12) + b"\x81\x00\x20\x05\x08\x00" + packet(1)
    plain = ethernet(packet(2))
    with (
        namespace.run(aiotun.Device, name="cap0", layer="tap", ipv6_quiet=True) as device,
        capturing(namespace, "cap0", "-w", str(path), "-s", str(size)) as process,
    ):
        device.send_many([tagged, plain])
        ended(process)
    contents = read(path)
    assert [data for data, _, _ in contents.packets] == [tagged[:size], plain[:size]]
    assert contents.sizes == [len(tagged), len(plain)]
    assert contents.interfaces[0]["link_type"] == 1


@pytest.mark.parametrize("filter", [[], ["icmp"]])
def test_count_and_snap_length(
    namespace: Namespace, device: aiotun.Device, tmp_path: Path, filter: list[str]
) -> None:
    path = tmp_path / "x.pcapng"
    with capturing(namespace, "cap0", "-w", str(path), "-c", "1", "-s", "24", *filter) as process:
        exchange(device)
        assert ended(process, None)[0] == 0
    contents = read(path)
    assert (contents.packets, contents.sizes) == ([(REQUEST[:24], INBOUND, "")], [len(REQUEST)])


@pytest.mark.parametrize("split", [False, True])
def test_count_of_what_comes_at_once(
    namespace: Namespace, device: aiotun.Device, tmp_path: Path, split: bool
) -> None:
    path = tmp_path / "x.pcapng"
    options = ["--split"] if split else []
    with capturing(namespace, *options, "cap0", "-w", str(path), "-c", "3", "ip") as process:
        device.send_many(segments(4) if split else [REQUEST] * 20)
        status, errors = ended(process, None)
    assert (status, errors.split(",")[0]) == (0, "3 packets captured")
    assert len(read(path).packets) == 3


@pytest.mark.parametrize("seconds", [None, "0.3"])
def test_an_interface_that_is_never_quiet(
    namespace: Namespace, device: aiotun.Device, tmp_path: Path, seconds: str | None
) -> None:
    path = tmp_path / "x.pcapng"
    options = [] if seconds is None else ["--seconds", seconds]
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.001):
            device.send(REQUEST)

    with capturing(namespace, "cap0", "-w", str(path), *options, "icmp") as process:
        sender = threading.Thread(target=send)
        sender.start()
        try:
            status, _ = ended(process, signal.SIGINT if seconds is None else None)
        finally:
            over.set()
            sender.join()
    assert status == 0


def test_a_ring_of_files(namespace: Namespace, device: aiotun.Device, tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    ring = ["--file-size", "1k", "--files", "2"]
    with capturing(namespace, "cap0", "-w", str(path), *ring) as process:
        device.send_many([udp(4, bytes(400), sport=number) for number in range(1, 10)])
        ended(process)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_waits_when_the_device_goes(
    namespace: Namespace, device: aiotun.Device, tmp_path: Path
) -> None:
    path = tmp_path / "x.pcapng"
    with capturing(namespace, "cap0", "-w", str(path)) as process:
        exchange(device)
        device.close()
        status, errors = ended(process, None)
    assert (status, errors.splitlines()[-1]) == (1, "aiotun capture: interface cap0 was deleted")
    assert len(read(path).packets) == 2


def test_a_full_disk(namespace: Namespace, device: aiotun.Device, tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    with files_up_to(2000), capturing(namespace, "cap0", "-w", str(path)) as process:
        device.send_many([udp(4, bytes(400), sport=number) for number in range(1, 10)])
        status, errors = ended(process, None)
    assert status == 1
    assert errors.splitlines() == [
        "0 packets captured, 0 lost because the buffer was full",
        "aiotun capture: File too large",
    ]
    assert path.stat().st_size == 2000


def test_an_interface_that_is_down_for_a_while(
    namespace: Namespace, device: aiotun.Device, tmp_path: Path
) -> None:
    path = tmp_path / "x.pcapng"
    with capturing(namespace, "cap0", "-w", str(path), "icmp") as process:
        device.down()
        device.up()
        exchange(device)
        assert ended(process)[0] == 0
    assert len(read(path).packets) == 2


def test_a_device_of_its_own(namespace: Namespace, tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    options = ["--new", "cap7", "--address", "10.9.0.1/24", "-c", "1", "-w", str(path)]
    with capturing(namespace, *options, "udp", "port", "9") as process:
        with namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"hello", ("10.9.0.2", 8))
            sender.sendto(b"hello", ("10.9.0.2", 9))
        status, errors = ended(process, None)
    assert (status, errors) == (
        0,
        "1 packet captured, 0 lost because the device or the buffer was full\n",
    )
    ((data, direction, _),) = read(path).packets
    assert (data[-5:], direction) == (b"hello", OUTBOUND)


def test_count_of_what_waits_in_a_device_of_its_own(namespace: Namespace, tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    options = ["--new", "cap7", "--address", "10.9.0.1/24", "-c", "3", "-w", str(path)]
    with (
        capturing(namespace, *options, "udp") as process,
        namespace.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        process.send_signal(signal.SIGSTOP)
        for _ in range(20):
            sender.sendto(b"hello", ("10.9.0.2", 9))
        process.send_signal(signal.SIGCONT)
        status, errors = ended(process, None)
    assert (status, errors.split(",")[0]) == (0, "3 packets captured")
    assert len(read(path).packets) == 3


@pytest.mark.parametrize("read_it", [False, True], ids=["nobody reads", "somebody reads"])
def test_into_a_pipe(
    namespace: Namespace, device: aiotun.Device, tmp_path: Path, read_it: bool
) -> None:
    """Which waits for a reader, unless a signal ends it."""
    path = tmp_path / "x.pcapng"
    os.mkfifo(path)
    command = [sys.executable, "-m", "aiotun", "capture", "cap0", "-w", str(path)]
    pipes = {**settings(), "stderr": subprocess.PIPE}
    with namespace.run(subprocess.Popen, command, **pipes) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == f"waiting until somebody reads {path}\n"
            if read_it:
                with path.open("rb") as pipe:
                    assert "to a pipe" in process.stderr.readline()
                    exchange(device)
                    assert ended(process)[0] == 0
                    (tmp_path / "read").write_bytes(pipe.read())
                assert len(read(tmp_path / "read").packets) == 2
            else:
                assert ended(process) == (130, "")
        finally:
            process.kill()


def test_to_standard_output_whose_reader_goes(namespace: Namespace, device: aiotun.Device) -> None:
    with capturing(namespace, "cap0", "-w", "-") as process:
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 4) == b"\x0a\x0d\x0d\x0a"
        process.stdout.close()
        exchange(device)
        assert process.wait(timeout=50) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothere"], "no interface is called nothere here; there are: cap0, lo"),
        (["cap0", "no such word"], r"no filter \(see pcap-filter\(7\)\)"),
        (["cap0", "-w", "/nonexistent/x"], "/nonexistent/x: No such file or directory"),
        (["cap0", "-w", "x", "--files", "3"], "takes a size or a time"),
        ([], "name the interface"),
        (["cap0", "--tap"], "--tap and --address are for a device that --new makes"),
        (["cap0", "--address", "10.9.0.1/24"], "are for a device that --new makes"),
        (["--new", "cap0", "-w", "/dev/null"], "already: aiotun capture cap0 records it"),
        (["cap0", "--wireshark"], "wireshark is not in PATH"),
    ],
    ids=str,
)
def test_what_goes_wrong(
    namespace: Namespace, device: aiotun.Device, arguments: list[str], message: str
) -> None:
    command = [sys.executable, "-m", "aiotun", "capture", *arguments]
    options = {**settings(), "env": {**settings()["env"], "PATH": "/nonexistent"}}
    process = namespace.run(subprocess.Popen, command, **options)
    output = process.communicate(timeout=50)[0]
    assert process.returncode == 1
    assert re.fullmatch(f"aiotun capture: .*{message}.*\n", output), output


def test_without_the_capability(namespace: Namespace, device: aiotun.Device) -> None:
    command = [sys.executable, "-m", "aiotun", "capture", "cap0"]

    def without_net_raw() -> None:
        restricted.drop(13)  # CAP_NET_RAW, linux/capability.h

    process = namespace.run(subprocess.Popen, command, **settings(), preexec_fn=without_net_raw)
    output = process.communicate(timeout=50)[0]
    assert (process.returncode, "CAP_NET_RAW" in output) == (1, True), output


def test_what_finds_no_place_is_counted(namespace: Namespace, device: aiotun.Device) -> None:
    with namespace.run(PacketRing, "cap0", size=2 << 20) as ring:
        sent = 4000
        for number in range(sent):
            device.send(udp(4, bytes(1200), sport=number + 1))
        read = 0
        while batch := list(ring.read(0.3)):
            read += len(batch)
        ring.count()
    assert ring.dropped > 0
    assert ring.received == sent
    assert read == ring.received - ring.dropped


def test_what_finds_no_place_is_told(
    namespace: Namespace, device: aiotun.Device, tmp_path: Path
) -> None:
    path = tmp_path / "x.pcapng"
    sent = 4000
    with capturing(namespace, "cap0", "-w", str(path), "--buffer", "2M", "udp") as process:
        process.send_signal(signal.SIGSTOP)
        for number in range(sent):
            device.send(udp(4, bytes(1200), sport=number + 1))
        process.send_signal(signal.SIGCONT)
        _, errors = ended(process)
    recorded, lost = map(int, re.findall(r"(\d+) (?:packets captured|lost)", errors))
    contents = read(path)
    told = contents.statistics[-1]
    assert recorded + lost == sent == told["isb_ifrecv"]
    assert (len(contents.packets), told["isb_ifdrop"]) == (recorded, lost)
    assert 0 < lost < sent


def test_packets_behind_the_news_that_the_interface_was_down(
    namespace: Namespace, device: aiotun.Device
) -> None:
    """The news wake the reader: it goes on waiting for the block."""
    with namespace.run(PacketRing, "cap0") as ring:
        device.down()
        device.up()
        device.send(REQUEST)
        assert len(list(ring.read(2.0))) >= 1


def test_reading_is_interrupted(namespace: Namespace, device: aiotun.Device) -> None:
    with namespace.run(PacketRing, "cap0") as ring, aiotun.Interrupt() as interrupt:
        interrupt.set()
        assert list(ring.read(None, interrupt)) == []


@pytest.mark.interop
@pytest.mark.requires("tshark")
def test_tshark_reads_it(namespace: Namespace, device: aiotun.Device, tmp_path: Path) -> None:
    """Direction, interface and statistics, from the file and, as Wireshark does, from a pipe."""
    path = tmp_path / "x.pcapng"
    with capturing(namespace, "cap0", "-w", str(path)) as process:
        exchange(device)
        ended(process)
    fields = ["frame.interface_name", "frame.packet_flags_direction", "ip.src", "icmp.type"]
    command = ["tshark", "-n", "-T", "fields", *(word for name in fields for word in ("-e", name))]
    done = subprocess.run([*command, "-r", path], capture_output=True, text=True, check=True)
    assert [line.split("\t") for line in done.stdout.splitlines()] == [
        ["cap0", "0x00000001", "10.9.0.2", "8"],
        ["cap0", "0x00000002", "10.9.0.1", "0"],
    ]
    about = subprocess.run(["capinfos", path], capture_output=True, text=True, check=True).stdout
    assert f"Capture application: aiotun {aiotun.__version__}" in about
    assert "Number of stat entries = 1" in about

    shown = tmp_path / "shown"
    script = tmp_path / "bin" / "wireshark"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\nexec tshark -n -l -c 2 -i - >{shown} 2>/dev/null\n")
    script.chmod(0o755)
    environment = {"PATH": f"{script.parent}:{os.environ['PATH']}"}
    arguments = ["cap0", "--wireshark", "-c", "2"]
    command = [sys.executable, "-m", "aiotun", "capture", *arguments]
    options = {**settings(), "env": {**settings()["env"], **environment}}
    with namespace.run(subprocess.Popen, command, **options) as viewing:
        assert viewing.stdout is not None
        assert "capturing cap0" in viewing.stdout.readline()
        exchange(device)
        assert viewing.wait(timeout=50) == 0
    # The capture waits for nobody: the viewer may not have opened its file yet.
    while not shown.exists() or shown.read_text().count("ICMP") < 2:
        time.sleep(0.1)
