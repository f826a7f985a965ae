"""aiotun watch: what passes through the TUN and TAP devices of this machine, as it passes."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..interfaces import InterfaceStatistics
from .messages import duration, message, scaled

if TYPE_CHECKING:
    from rich.console import Group

__all__ = ["History", "Sample", "add_arguments", "main", "render"]

LENGTH = 24
"""Rates that a device's history has, and columns of its curve."""

BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Sample:
    """A device at one moment."""

    name: str
    layer: str
    up: bool
    statistics: InterfaceStatistics
    programs: list[str] = field(default_factory=list)
    """Who has it open, each as "command (pid)"."""
    counters: Mapping[str, float] = field(default_factory=dict)
    """Of the program that has it, as `Counters` names them, where it tells Prometheus."""


@dataclass
class History:
    """A device over time. Rates are per second."""

    latest: Sample
    moment: float
    received: deque[float] = field(default_factory=lambda: deque([0.0] * LENGTH, LENGTH))
    """Bits."""
    sent: deque[float] = field(default_factory=lambda: deque([0.0] * LENGTH, LENGTH))
    rates: dict[str, float] = field(default_factory=dict)
    """Of all that is counted, by the names of `InterfaceStatistics`."""

    def add(self, sample: Sample, moment: float) -> None:
        """Take the next sample; a device that was made anew under its name begins at zero."""
        before, seconds = asdict(self.latest.statistics), moment - self.moment
        now = asdict(sample.statistics)
        if any(now[name] < value for name, value in before.items()):
            before = dict.fromkeys(before, 0)
        self.rates = {name: (now[name] - before[name]) / seconds for name in now}
        self.received.append(8 * self.rates["bytes_received"])
        self.sent.append(8 * self.rates["bytes_sent"])
        self.latest, self.moment = sample, moment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these devices")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each moment")
    parser.add_argument("--once", action="store_true", help="show one interval, and end")
    parser.add_argument(
        "--interval", type=duration, default=1.0, help="seconds between two moments (1)"
    )
    parser.add_argument(
        "--metrics",
        metavar="URL",
        help="where a program that uses aiotun.metrics tells its own counters",
    )


def main(args: argparse.Namespace) -> int:
    """Show until interrupted."""
    try:
        (_print_json if args.json else _show)(args)
    except BrokenPipeError:
        raise  # `aiotun.cli` ends in silence
    except ModuleNotFoundError as exc:
        print(f"aiotun watch: {exc.name} is missing: pip install 'aiotun[cli]'", file=sys.stderr)
        return 1
    except (OSError, ValueError) as exc:
        print(f"aiotun watch: {message(exc)}", file=sys.stderr)
        return 1
    return 0


def _moments(args: argparse.Namespace) -> Iterator[dict[str, History]]:
    """The devices' histories, again and again, or once they have a rate. Raises `OSError`."""
    histories: dict[str, History] = {}
    for number in itertools.count():
        samples = {each.name: each for each in _samples(args.names)}
        if args.metrics:
            _add_counters(samples, args.metrics)
        moment = time.monotonic()
        for name, sample in samples.items():
            if name in histories:
                histories[name].add(sample, moment)
            else:
                histories[name] = History(sample, moment)
        histories = {name: histories[name] for name in samples}
        if number or not args.once:
            yield histories
        if number and args.once:
            return
        time.sleep(args.interval)


def _samples(names: list[str]) -> list[Sample]:
    if sys.platform == "linux":
        from ..platforms.linux.holders import holders
        from ..platforms.linux.listing import list_devices
        from ..platforms.linux.netlink import NetlinkSocket

        with NetlinkSocket() as netlink:
            devices = list_devices(netlink)
        known = {each.name for each in devices}
        if missing := [name for name in names if name not in known]:
            there = ", ".join(sorted(known)) or "none"
            raise ValueError(f"no TUN or TAP is called {missing[0]} here; there are: {there}")
        programs = holders()
        return [
            Sample(
                each.name,
                each.layer,
                each.up,
                each.statistics,
                [f"{command} ({pid})" for pid, command in programs.get(each.name, [])],
            )
            for each in devices
            if not names or each.name in names
        ]
    raise ValueError("only Linux lists the devices of other programs")


def _add_counters(samples: dict[str, Sample], url: str) -> None:
    """Ask a program what it counted itself. Raises `OSError`, `ValueError`."""
    from urllib.request import urlopen

    from prometheus_client.parser import text_string_to_metric_families

    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no URL such as http://127.0.0.1:9101/metrics")
    with urlopen(url, timeout=5) as answer:
        text = answer.read().decode(errors="replace")
    for family in text_string_to_metric_families(text):
        prefix = "aiotun_device_"
        for found in family.samples if family.name.startswith(prefix) else ():
            name = found.labels.get("device", "")
            if name in samples and found.name.endswith("_total"):
                counter = found.name.removeprefix(prefix).removesuffix("total")
                key = counter + found.labels.get("direction", "")
                counters = {**samples[name].counters, key: found.value}
                samples[name] = replace(samples[name], counters=counters)


def _print_json(args: argparse.Namespace) -> None:
    with suppress(KeyboardInterrupt):
        for histories in _moments(args):
            devices = [{**asdict(each.latest), "rates": each.rates} for each in histories.values()]
            print(json.dumps({"time": time.time(), "devices": devices}), flush=True)


def _show(args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with suppress(KeyboardInterrupt):
        if args.once or not console.is_terminal:
            for histories in _moments(args):
                console.print(render(histories))
            return
        with Live(console=console, auto_refresh=False, screen=True) as live:
            for histories in _moments(args):
                live.update(render(histories), refresh=True)


def render(histories: Mapping[str, History]) -> Group:
    """A picture of all devices, eighty columns wide."""
    from rich.console import Group
    from rich.text import Text

    if not histories:
        return Group(Text("no TUN or TAP device here"))
    return Group(*(line for each in histories.values() for line in _device(each)))


def _device(history: History) -> Iterator[Any]:
    """Each line is a `Text`: in a string, what stands in brackets would be markup."""
    from rich.text import Text

    latest = history.latest
    programs = ", ".join(latest.programs) or "no program that can be seen"
    state = "" if latest.up else ", down"
    yield Text(f"{latest.name}", style="bold").append(
        f"  {latest.layer}{state}, {programs}", style="default not bold"
    )
    for way, rates, colour in (
        ("received", history.received, "cyan"),
        ("sent", history.sent, "green"),
    ):
        dropped = getattr(latest.statistics, f"dropped_{way}")
        packets = history.rates.get(f"packets_{way}", 0.0)
        line = Text(f"  {way:9}")
        line.append(f"{scaled(rates[-1])}bit/s".rjust(12))
        line.append(f"{scaled(packets)}packets/s".rjust(16))
        line.append(f"  {_curve(rates)}", style=colour)
        line.append(f"  {dropped} dropped", style="red" if dropped else "dim")
        yield line
        if latest.counters:
            yield Text(f"  {'':9}{_counted(latest.counters, way)}", style="dim")
    yield Text()


def _counted(counters: Mapping[str, float], way: str) -> str:
    """What a program says itself: how much a system call moved, and what it dropped."""
    packets, frames = counters.get(f"packets_{way}", 0), counters.get(f"frames_{way}", 0)
    batch = packets / frames if frames else 0.0
    supers, dropped = counters.get(f"super_packets_{way}", 0), counters.get(f"dropped_{way}", 0)
    return (
        f"{batch:.1f} packets a frame, {supers:.0f} super-packets, "
        f"{dropped:.0f} dropped by the program"
    )


def _curve(rates: deque[float]) -> str:
    """The rates as bars, the highest one full."""
    highest = max(rates)
    if not highest:
        return BARS[0] * len(rates)
    return "".join(BARS[round(rate / highest * (len(BARS) - 1))] for rate in rates)
