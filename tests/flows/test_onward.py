"""Flows that are made again from this host: what an exit does, with real programs at both ends."""

from __future__ import annotations

import asyncio
import errno
import json
import subprocess

import pytest
from flow_rigs import HOST, FlowNet
from rigs import until

import aiotun
from aiotun.flows import onward

pytestmark = pytest.mark.requires("tun", "netns")


@pytest.mark.interop
@pytest.mark.requires("iperf3")
@pytest.mark.parametrize(
    "options",
    [
        ["--bytes", "100M"],
        ["--bytes", "100M", "--reverse"],
        ["--bytes", "100M", "--parallel", "8"],
        # All of it fits into a socket's buffer: no pause of a busy machine costs a packet.
        ["--udp", "--bitrate", "1M", "--bytes", "100K"],
    ],
    ids=["there", "back", "parallel", "udp"],
)
async def test_iperf3(flow_net: FlowNet, options: list[str]) -> None:
    import outside  # of Linux

    with aiotun.Device(addresses=[f"{HOST[4]}/32"]):  # here, where no client is
        serve = ["iperf3", "--server", "--one-off", "--bind", HOST[4]]
        with subprocess.Popen(serve, stdout=subprocess.DEVNULL) as server:  # noqa: ASYNC220
            await asyncio.to_thread(outside.wait_for_listener, None, 5201)
            async with aiotun.start_flow_server(
                onward.pass_connection,
                datagrams=onward.pass_conversation,
                accept=onward.connect,
                device=flow_net.device(),
            ) as flows:
                command = ["iperf3", "--client", HOST[4], "--json", *options]
                printed = await asyncio.to_thread(flow_net.namespace.command, *command)
                end = json.loads(printed)["end"]
                received = end.get("sum_received") or end["sum"]
                assert received["bytes"] > 100_000
                assert flows.counters.established + flows.counters.conversations >= 2
            server.wait(10)


async def test_what_cannot_be_reached(flow_net: FlowNet) -> None:
    """The client's connect says what the program's own said."""
    with aiotun.Device(addresses=[f"{HOST[4]}/32"]):
        async with aiotun.start_flow_server(
            onward.pass_connection, accept=onward.connect, device=flow_net.device()
        ):
            with pytest.raises(ConnectionRefusedError):
                await flow_net.connect(HOST[4], 1)
            with pytest.raises(OSError) as caught:  # noqa: PT011
                await flow_net.connect("198.51.100.1", 1)
            assert caught.value.errno == errno.EHOSTUNREACH


async def test_datagrams_to_where_no_way_leads(flow_net: FlowNet) -> None:
    """They end the conversation, and are no fault that somebody has to be told of."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    async with (
        aiotun.start_flow_server(
            None, datagrams=onward.pass_conversation, device=flow_net.device()
        ) as flows,
        flow_net.udp("198.51.100.1") as sock,
    ):
        sock.send(b"anybody?")
        await until(lambda: flows.counters.conversations == 1 and not flows.flows)
    assert faults == []
