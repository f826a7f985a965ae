"""Those who mean harm: what the fuzzer knows, for a moment, and a flood of handshakes."""

from __future__ import annotations

import json
import sys
import time

import pytest
from fuzz_wireguard import fuzz

from aiotun.testing import Namespace
from benchmarks.processes import Process
from benchmarks.wireguard.nodes import (
    PORT,
    Node,
    connect,
    give_address,
    hosts,
)
from benchmarks.wireguard.programs import IMPLEMENTATIONS


def test_fuzzed() -> None:
    """The rounds judge themselves; here it shows that they reach everything."""
    tried = fuzz(2, seed=0)
    assert set(tried) == {
        *("initiation", "response", "cookie", "transport", "other", "inner", "device", "rounds")
    }


@pytest.mark.interop
@pytest.mark.timeout(120)
@pytest.mark.requires("tun", "netns", "mountns", "ip", "ping", "iperf3", "go")
def test_a_flood_of_handshakes() -> None:
    """An existing peer feels nothing of it, and a new one gets in by its cookie."""
    IMPLEMENTATIONS["wireguard-go"].prepare()
    with (
        Node("aiotun", "10.7.0.1/24") as server,
        Node("wireguard-go", "10.7.0.2/24") as old,
        Node("wireguard-go", "10.7.0.3/24") as new,
        Namespace() as attacker,
    ):
        ends = (old.namespace, new.namespace, attacker)
        for number, namespace in enumerate(ends):
            connect(server.namespace, namespace, (f"eth{number}", "eth0"))
            give_address(server.namespace, f"eth{number}", f"192.0.{number}.1/24")
            give_address(namespace, "eth0", f"192.0.{number}.2/24")
        for number, peer in enumerate((old, new)):
            server.add_peer(peer.public_key, *hosts(peer))
            peer.add_peer(server.public_key, *hosts(server), endpoint=f"192.0.{number}.1")
        for node in (server, old, new):
            node.start()
        old.namespace.command("ping", "-c", "1", "-W", "5", "10.7.0.1")

        flood = (
            "-m",
            "benchmarks.wireguard.flood",
            "192.0.2.1",
            f"{PORT}",
            server.public_key.hex(),
        )
        receive = ("iperf3", "--server", "--one-off", "--forceflush")
        send = ("iperf3", "--client", "10.7.0.1", "--bitrate", "20M", "--bytes", "10M")
        with (
            Process(attacker, sys.executable, *flood, "2000") as flooding,
            Process(server.namespace, *receive) as receiver,
        ):
            receiver.wait_for("listening", 20)
            flooding.wait_for("ready", 20)
            start, before = time.monotonic(), server.process.cpu_seconds()
            time.sleep(1)
            assert server.process.cpu_seconds() - before < 0.6 * (time.monotonic() - start)
            with Process(old.namespace, *send, "--json") as sender:
                # The first try is answered by a cookie, that 5 s later has MAC2; one may be lost.
                new.namespace.command("ping", "-c", "1", "-W", "13", "10.7.0.1")
                assert "error" not in json.loads(sender.finish(60))
            flooding.check()
        counters = dict(line.split("=") for line in server.ask("counters=1"))
        assert int(counters["unproven"]) > 5_000
