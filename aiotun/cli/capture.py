"""aiotun capture: record the packets of an interface, or of a new one, as pcapng."""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from ..capturing import Ring, capture
from ..capturing.files import Target
from ..capturing.filters import SNAP_LENGTH
from ..device import Device
from ..errors import InterruptError, NameInUseError
from ..interrupt import Interrupt
from .messages import amount, duration, message

__all__ = ["add_arguments", "main"]

LISTED = "; aiotun watch shows them" if sys.platform == "linux" else ""

USAGE = "aiotun capture (NAME | --new NAME) [option ...] [FILTER]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = USAGE
    parser.epilog = "FILTER is in the syntax of pcap-filter(7): tcp port 443 and host 10.9.0.2"
    add = parser.add_argument
    add("words", nargs="*", metavar="NAME FILTER", help="the interface; which packets to record")
    add("--new", metavar="NAME", help="make this device, and record what is sent to it")
    add("--tap", action="store_true", help="with --new: a TAP instead of a TUN")
    add("--address", action="append", default=[], help="with --new: an address, with its prefix")
    add("-w", "--write", metavar="FILE", help="write there; - is the standard output")
    add("--wireshark", action="store_true", help="show the packets in Wireshark")
    add("-c", "--count", type=amount, help="end after so many packets")
    add("--seconds", type=duration, help="end after so much time")
    add("-s", "--snap-length", type=amount, default=SNAP_LENGTH, help="keep so much of a packet")
    add("--split", action="store_true", help="record the packets of a super-packet one by one")
    add("--buffer", type=amount, default=64 << 20, help="memory in which packets wait (64 MiB)")
    add("--file-size", type=amount, help="go on with a new file after so many bytes")
    add("--file-time", type=duration, metavar="SECONDS", help="go on with a new file after that")
    add("--files", type=amount, metavar="COUNT", help="keep so many, the newest")


def main(args: argparse.Namespace) -> int:
    """Record until a signal, the count, the time, or the interface's end; tell what was lost."""
    try:
        with ExitStack() as stack:
            target = _target(args, stack)  # until a pipe has a reader, signals end the program
            interrupt = stack.enter_context(_interrupted_by_signals())
            return (_capture_new if args.new else _capture_named)(args, target, interrupt)
    except BrokenPipeError:
        raise  # `aiotun.cli` ends in silence
    except (OSError, ValueError) as exc:
        print(f"aiotun capture: {message(exc)}", file=sys.stderr)
        return 1


def _target(args: argparse.Namespace, stack: ExitStack) -> Target:
    if args.wireshark:
        program = shutil.which("wireshark")
        if program is None:
            raise ValueError("wireshark is not in PATH; -w FILE writes what it reads")
        # In a session of its own: the signal that ends the capture leaves the window open.
        viewer = subprocess.Popen(
            [program, "-k", "-i", "-"], stdin=subprocess.PIPE, start_new_session=True
        )
        pipe = cast(BinaryIO, viewer.stdin)

        @stack.callback
        def close() -> None:
            with suppress(BrokenPipeError):
                pipe.close()
            viewer.returncode = 0  # nobody waits for it: it may stay open

        return pipe
    if args.write == "-":
        return sys.stdout.buffer
    path = str(args.write or f"{args.new or _name(args)}.pcapng")
    if Path(path).is_fifo():
        print(f"waiting until somebody reads {path}", file=sys.stderr, flush=True)
        return stack.enter_context(open(path, "wb"))
    return path


def _name(args: argparse.Namespace) -> str:
    if args.tap or args.address:
        raise ValueError("--tap and --address are for a device that --new makes")
    if not args.words:
        raise ValueError("name the interface, or make one with --new" + LISTED)
    return str(args.words[0])


def _ring(args: argparse.Namespace) -> Ring | None:
    if args.file_size is None and args.file_time is None and args.files is None:
        return None
    return Ring(args.file_size, args.file_time, args.files)


def _capture_named(args: argparse.Namespace, target: Target, interrupt: Interrupt) -> int:
    name = _name(args)
    if sys.platform == "linux":
        from ..capturing.recording import Recording

        recording = Recording(
            name,
            target,
            filter=" ".join([*args.words[1:], *args.rest]),
            split=args.split,
            snap_length=args.snap_length,
            ring=_ring(args),
            count=args.count,
            buffer=args.buffer,
        )
        try:
            with recording:
                _say(f"capturing {name}", target)
                try:
                    recording.run(interrupt, seconds=args.seconds)
                finally:
                    recording.tell()
        finally:
            _say_end(recording.packets, f"{recording.lost} lost because the buffer was full")
        return 0
    raise ValueError("only Linux shows other programs' packets; aiotun.capture shows one's own")


def _capture_new(args: argparse.Namespace, target: Target, interrupt: Interrupt) -> int:
    end = None if args.seconds is None else time.monotonic() + args.seconds
    try:
        made = Device(
            name=args.new,
            layer="tap" if args.tap else "tun",
            addresses=args.address,
            exclusive=True,
        )
    except NameInUseError as exc:
        raise ValueError(
            f"{args.new} is there already: aiotun capture {args.new} records it"
        ) from exc
    with made as device:
        recording = capture(
            device,
            target,
            filter=" ".join([*args.words, *args.rest]),
            split=args.split,
            snap_length=args.snap_length,
            ring=_ring(args),
            count=args.count,
            buffer=args.buffer,
        )
        try:
            with recording:
                _say(f"made {device.name}, and capturing what is sent to it", target)
                with suppress(InterruptError, TimeoutError):
                    while args.count is None or recording.packets < args.count:
                        left = None if end is None else end - time.monotonic()
                        device.recv_many(left, interrupt=interrupt)
                        recording.flush()
        finally:
            dropped = device.statistics().dropped_received + recording.lost
            _say_end(recording.packets, f"{dropped} lost because the device or the buffer was full")
    return 0


@contextmanager
def _interrupted_by_signals() -> Iterator[Interrupt]:
    """Set by SIGINT and SIGTERM, instead of what they do."""
    with Interrupt() as interrupt:
        numbers = signal.SIGINT, signal.SIGTERM
        before = [signal.signal(each, lambda number, _: interrupt.set(number)) for each in numbers]
        try:
            yield interrupt
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


def _say(what: str, target: Target) -> None:
    where = target if isinstance(target, str) else "a pipe"
    print(f"{what}, to {where}; Ctrl-C ends it", file=sys.stderr, flush=True)


def _say_end(packets: int, lost: str) -> None:
    packet = "packet" if packets == 1 else "packets"
    print(f"{packets} {packet} captured, {lost}", file=sys.stderr)
