"""python -m benchmarks.tls_vpn: our example of a VPN over TLS beside OpenVPN.

        namespace of the client                           namespace of the server
    iperf3  <-->  tunnel  <-->  TCP over a pair of veth  <-->  tunnel  <-->  iperf3

Both over one TCP connection, sealed with AES-256-GCM, with the same certificates,
and otherwise as they come. OpenVPN has its point-to-point mode, the MTU of
its tunnel its own 1500, ours 1400.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from aiotun.testing import Namespace
from examples.tls_vpn.certificates import SERVER, make_certificates

from .machine import describe
from .measure import attempt, progress
from .network import congestion_control
from .processes import Process, prepare
from .programs import ROOT
from .ratios import ratios, running_order, summarize, values
from .results import Results
from .tables import Table, number, setting, spread
from .wireguard.nodes import connect, give_address
from .workloads import SETUP, Metrics, parse_iperf

OUTPUT = ROOT / "build" / "benchmarks" / "tls_vpn.json"

NEEDED = ("netns", "tun", "ip", "ping", "iperf3")

OUTSIDE = {"server": "192.0.2.1", "client": "192.0.2.2"}

DIRECTIONS = {"to the server": (), "to the client": ("--reverse",)}
"""By name: what iperf3's client is told."""

FLOOR = 1.0
"""Throughput, by that of OpenVPN."""


@dataclass(frozen=True)
class VPN:
    title: str
    server: tuple[str, ...]
    client: tuple[str, ...]
    """Commands; "{folder}" in them has the certificates."""
    ready: dict[str, str]
    """What server and client say when they are."""
    inside: str
    """The server's address in the tunnel."""


def _openvpn(who: str, own: str, other: str, *arguments: str) -> tuple[str, ...]:
    return (
        *("openvpn", "--cd", "{folder}", "--dev", "tun0", "--ifconfig", own, other),
        *("--ca", "ca.pem", "--cert", f"{who}.pem", "--key", f"{who}.pem"),
        *("--data-ciphers", "AES-256-GCM", "--cipher", "AES-256-GCM", "--verb", "1", *arguments),
    )


def _ours(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "examples.tls_vpn", "--directory", "{folder}", *arguments)


VPNS = {
    "aiotun": VPN(
        "aiotun, examples/tls_vpn",
        _ours("server", "alice"),
        _ours("client", "alice", OUTSIDE["server"]),
        {"server": "vpn0 serves", "client": "vpn0 is"},
        "10.8.0.1",
    ),
    "openvpn": VPN(
        "OpenVPN",
        _openvpn(
            *(SERVER, "10.8.0.1", "10.8.0.2", "--proto", "tcp-server"),
            *("--tls-server", "--dh", "none"),
        ),
        _openvpn(
            *("alice", "10.8.0.2", "10.8.0.1", "--proto", "tcp-client"),
            *("--tls-client", "--remote", OUTSIDE["server"]),
        ),
        {"server": "Listening for", "client": "Initialization Sequence Completed"},
        "10.8.0.1",
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tls_vpn", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="how often all is measured (9)")
    parser.add_argument("--seconds", type=int, default=4, help="of each flow (4)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="file for the results")
    args = parser.parse_args()
    prepare(*NEEDED)
    if shutil.which("openvpn") is None:
        sys.exit("openvpn is not installed (apt-get install openvpn)")
    results = run(args.rounds, args.seconds, args.output)
    print(f"{setting(results)}\n\n{table(results).markdown()}")
    return 1 if results.failures else 0


def run(rounds: int, seconds: int, output: Path) -> Results:
    options = {"rounds": rounds, "seconds": seconds, "congestion_control": congestion_control()}
    results = Results(describe(), options)
    with progress(Console(stderr=True)) as bar:
        task = bar.add_task("", total=rounds * len(DIRECTIONS) * len(VPNS))
        for round_number in range(rounds):
            for direction in DIRECTIONS:
                for name in running_order(VPNS, round_number):
                    title = f"round {round_number + 1}, {direction}: {VPNS[name].title}"
                    bar.update(task, description=title)
                    measurement = partial(measure, VPNS[name], direction, seconds)
                    attempt(measurement, name, direction, round_number, results, bar.console)
                    bar.advance(task)
            results.save(output)
    return results


def measure(vpn: VPN, direction: str, seconds: float) -> Metrics:
    """One TCP flow through the tunnel. Raises `MeasurementError`."""
    with tunnel(vpn) as (namespaces, programs):
        serve = ("iperf3", "--server", "--one-off", "--forceflush")
        send = ("iperf3", "--client", vpn.inside, "--json", "--time", f"{seconds:.0f}")
        with Process(namespaces["server"], *serve) as server:
            server.wait_for("listening", timeout=20)
            with Process(namespaces["client"], *send, *DIRECTIONS[direction]) as client:
                before = sum(program.cpu_seconds() for program in programs)
                metrics = parse_iperf(client.finish(seconds + SETUP))
                spent = sum(program.cpu_seconds() for program in programs) - before
        memory = max(program.peak_memory() for program in programs)
    return {
        **metrics,
        "cpu_per_gbit": 1000 * spent / (metrics["throughput"] * seconds),
        "memory": memory / 1e6,
    }


@contextmanager
def tunnel(vpn: VPN) -> Iterator[tuple[dict[str, Namespace], list[Process]]]:
    """The namespaces by name, and the programs at both ends, when pings pass."""
    with (
        tempfile.TemporaryDirectory(prefix="aiotun-bench-") as folder,
        Namespace() as at_server,
        Namespace() as at_client,
    ):
        namespaces = {"server": at_server, "client": at_client}
        make_certificates(Path(folder), ["alice"])
        connect(at_server, at_client)
        for who, address in OUTSIDE.items():
            give_address(namespaces[who], "eth0", f"{address}/24")
            namespaces[who].sysctl("net.ipv4.tcp_congestion_control", congestion_control())
        commands = [
            [part.format(folder=folder) for part in command] for command in (vpn.server, vpn.client)
        ]
        with Process(at_server, *commands[0]) as server:
            server.wait_for(vpn.ready["server"], timeout=10)
            with Process(at_client, *commands[1]) as client:
                client.wait_for(vpn.ready["client"], timeout=20)
                ping = ("ping", "-n", "-c", "3", "-i", "0.1", "-w", "5", vpn.inside)
                with Process(at_client, *ping) as pinging:
                    pinging.finish(timeout=10)
                yield namespaces, [server, client]


def table(results: Results) -> Table:
    metrics = ("throughput", "cpu_per_gbit", "memory", "retransmissions")
    lines = []
    for direction in DIRECTIONS:
        for name, vpn in VPNS.items():
            samples = results.samples
            shown = [
                number(summarize(values(samples, metric, direction, name).values()))
                for metric in metrics
            ]
            ratio = summarize(ratios(samples, "throughput", direction, name, "openvpn"))
            lines.append((f"{vpn.title}, {direction}", *shown, spread(ratio)))
    columns = (
        *("VPN", "Gbit/s", "CPU of both ends per Gbit, ms", "peak memory, MB"),
        *("retransmissions", f"ratio to OpenVPN (at least {FLOOR:g})"),
    )
    return Table("A VPN over TCP, one TCP flow", columns, lines)


if __name__ == "__main__":
    sys.exit(main())
