#!/bin/sh
# CPython 3.13 and 3.14 run no `finally` around a `while` loop in the same function when a signal
# handler raises as the loop goes round: ctrl-C skips it. Where the loop calls nothing that is
# always so. In a function of its own the loop does no harm, and 3.10 to 3.12 run each `finally`.
# The jump back has no entry in the function's exception table (python/cpython#130279).
set -eu
for python in ${PYTHON:-python3.14 python3.13 python3}; do
    "$python" -c "" 2>/dev/null && break
done
exec "$python" - <<'PYTHON'
import platform
import signal
import sys

STRIKES = 100


def strike(number, frame):
    raise KeyboardInterrupt


def nothing():
    pass


def plain():
    try:
        while running:
            pass
    finally:
        ended.append(plain)


def with_a_call():
    try:
        while running:
            nothing()
    finally:
        ended.append(with_a_call)


def loop():
    while running:
        pass


def in_a_function_of_its_own():
    try:
        loop()
    finally:
        ended.append(in_a_function_of_its_own)


running = True
ended = []
counts = []
signal.signal(signal.SIGALRM, strike)
print("CPython", platform.python_version())
for function in (plain, with_a_call, in_a_function_of_its_own):
    for _ in range(STRIKES):
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        try:
            function()
        except KeyboardInterrupt:
            pass
    counts.append(ended.count(function))
    name = function.__name__.replace("_", " ")
    print(f"{name:24} finally ran {counts[-1]:3} of {STRIKES} times")

if sys.version_info >= (3, 13):
    sys.exit(not (counts[0] == 0 < counts[1] < STRIKES == counts[2]))
sys.exit(counts != [STRIKES] * 3)
PYTHON
