"""aiotun.metrics: what Prometheus reads, as prometheus-client's own parser reads it."""

from __future__ import annotations

import gc
import re
import subprocess
import sys

import packets
import pytest
from machine import ROOT
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from rigs import Recorder, Rig, endpoint, packet, segments, until

import aiotun
from aiotun.metrics import COUNTED, TABLE, WIREGUARD, Metrics
from aiotun.testing import memory_devices


def samples(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """Values by name, source and the other label's value."""
    by_name = {f"{each.name}_total": each for each in COUNTED}
    families = text_string_to_metric_families(generate_latest(registry).decode())
    found = [sample for family in families for sample in family.samples]
    return {
        (
            sample.name,
            sample.labels[by_name[sample.name].label],
            sample.labels[by_name[sample.name].other],
        ): sample.value
        for sample in found
    }


def test_a_device_and_its_kernel(rig: Rig) -> None:
    registry = CollectorRegistry()
    Metrics(registry).add(rig.device)
    rig.device.send_many([packet(1), packet(2)])
    rig.send(packet(3))
    rig.device.recv(timeout=20)
    name = rig.device.name
    found = samples(registry)
    assert found["aiotun_device_packets_total", name, "sent"] == 2
    assert found["aiotun_device_bytes_total", name, "sent"] == len(packet(1)) + len(packet(2))
    assert found["aiotun_device_packets_total", name, "received"] == 1
    assert found["aiotun_kernel_packets_total", name, "sent"] == 2
    dropped = rig.device.statistics().dropped_received
    assert found["aiotun_kernel_dropped_total", name, "received"] == dropped
    rig.device.close()
    assert samples(registry)["aiotun_device_packets_total", name, "sent"] == 2


async def test_a_transport_its_super_packets_and_framed_ends() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    near, far = memory_devices(offload=True)
    async with endpoint(near, Recorder) as recorder, aiotun.open_device(device=far) as stream:
        framed = aiotun.Framed(stream, aiotun.codecs.Raw())
        metrics.add(recorder.transport, "near")
        metrics.add(stream, "far")
        metrics.add(framed, "items")
        recorder.transport.writelines(segments(4))
        recorder.transport.flush()
        assert await framed.recv() == segments(4)[0]
        found = samples(registry)
    assert found["aiotun_device_super_packets_total", "near", "sent"] == 1
    assert found["aiotun_device_packets_total", "far", "received"] == 4
    assert found["aiotun_framed_items_total", "items", "received"] == 1
    assert found["aiotun_framed_broken_total", "items", "received"] == 0


async def test_a_udp_endpoint() -> None:
    registry = CollectorRegistry()
    transport, _ = await aiotun.create_udp_endpoint(aiotun.UdpProtocol, ("127.0.0.1", 0))
    async with transport:
        Metrics(registry).add(transport, "wireguard")
        transport.sendto(b"hello", transport.local_addr)
        transport.flush()
        found = samples(registry)
    assert found["aiotun_udp_datagrams_total", "wireguard", "sent"] == 1
    assert found["aiotun_udp_bytes_total", "wireguard", "sent"] == 5


@pytest.mark.parametrize("name", [None, "exit"])
async def test_a_flow_server(name: str | None) -> None:
    registry = CollectorRegistry()
    device, far = memory_devices(addresses=["10.9.0.1/24"])
    label = name or device.name

    async def converse(stream: aiotun.flows.DatagramStream) -> None:
        await stream.recv()

    with far:
        async with aiotun.start_flow_server(None, datagrams=converse, device=device) as server:
            Metrics(registry).add(server, name)
            far.send(packets.ip(4, 253, b"12345678"))
            far.send(packets.udp(4, b"hello"))
            events, dropped = "aiotun_flow_events_total", "aiotun_flow_dropped_total"
            await until(lambda: samples(registry)[events, label, "conversations"], 30)
            found = samples(registry)
    assert found[events, label, "connections"] == 0
    assert found[dropped, label, "unsupported"] == 1
    assert found[dropped, label, "queue full"] == 0


def test_sources_of_one_name_are_added_up() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    near, far = memory_devices()
    with near, far:
        for device in (near, far):
            metrics.add(device, "both")
            device.send(packet(1))
        found = samples(registry)
        assert found["aiotun_device_packets_total", "both", "sent"] == 2
        assert found["aiotun_kernel_packets_total", "both", "sent"] == 1


def test_a_device_is_not_kept_alive() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    near, far = memory_devices()
    with near, far:
        metrics.add(near)
    del near, far
    gc.collect()
    assert samples(registry) == {}


def test_every_name_is_in_the_table_and_follows_the_rules() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    names = [each.name for each in TABLE]
    assert len(set(names)) == len(names)
    text = generate_latest(registry).decode()
    for family in COUNTED:
        assert f"# TYPE {family.name}_total counter" in text
    assert all(each.help for each in TABLE)


def test_the_page_about_a_service_names_what_a_server_tells() -> None:
    page = (ROOT / "docs" / "wireguard-service.md").read_text()
    listed = page.partition("| name | labels | what |")[2].partition("All but")[0]
    short = re.sub(r"aiotun_wireguard|…|_total", "", listed)
    for each in WIREGUARD:
        assert each.name.removeprefix("aiotun_wireguard") in short


async def test_what_has_no_counters_or_name() -> None:
    metrics = Metrics(CollectorRegistry())
    with pytest.raises(TypeError, match="no counters"):
        metrics.add(object())  # type: ignore[arg-type]
    near, far = memory_devices()
    with far:
        async with aiotun.open_device(device=near) as stream:
            with pytest.raises(TypeError, match="name the Framed"):
                metrics.add(aiotun.Framed(stream, aiotun.codecs.Raw()))


def test_without_the_library() -> None:
    program = "import sys; sys.modules['prometheus_client'] = None; import aiotun; aiotun.metrics"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'aiotun[metrics]'" in done.stderr
