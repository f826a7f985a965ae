#!/bin/sh
# asyncio's loop.create_server of CPython 3.11 and 3.12 returns a server that listens at nothing
# when no descriptor is left: it takes every error of socket(2) for an address family that the
# system lacks. Who relies on an exception waits for clients in vain. CPython 3.13 raises an
# OSError, whose errno is None; uvloop raises one with EMFILE on all.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check uvloop==0.22.1

cat >"$scratch/listen.py" <<'PYTHON'
import asyncio
import errno
import os
import platform
import resource
import sys

import uvloop


async def listen():
    loop = asyncio.get_running_loop()
    lowest = os.dup(0)
    os.close(lowest)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))  # not one more
    try:
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    except OSError as exc:
        return f"OSError with errno {errno.errorcode.get(exc.errno)}"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    return f"a server with {len(server.sockets)} sockets"


def run(new_event_loop):
    loop = new_event_loop()
    try:
        return loop.run_until_complete(listen())
    finally:
        loop.close()


print("CPython", platform.python_version(), "uvloop", uvloop.__version__)
seen = [run(asyncio.SelectorEventLoop), run(uvloop.new_event_loop)]
print("asyncio:", seen[0])
print("uvloop: ", seen[1])
old = "a server with 0 sockets"
new = "OSError with errno None"
expected = [new if sys.version_info >= (3, 13) else old, "OSError with errno EMFILE"]
sys.exit(seen != expected)
PYTHON
"$scratch/venv/bin/python" "$scratch/listen.py"
