#!/bin/sh
# Build the native modules with sanitizers, in a copy of the project, and run there the tests
# that use it: the address and the undefined-behaviour sanitizer, or with --threads the
# thread sanitizer: tools/sanitize.sh [--threads] PYTHON [TESTS]
set -eu
if [ "$1" = --threads ]; then
	shift
	sanitizers=thread
	library=libtsan.so
	tests="tests/aead tests/test_synchronous.py tests/test_many_devices.py tests/transports"
	export AIOTUN_TEST_STRESS_SECONDS="${AIOTUN_TEST_STRESS_SECONDS:-30}"
else
	sanitizers=address,undefined
	library=libasan.so
	tests="tests/aead tests/capturing/test_captured.py tests/flows/test_translate.py"
	tests="$tests tests/flows/test_write_back.py tests/framed/test_twins.py"
	tests="$tests tests/native tests/offload tests/platforms/bsd/test_recvmsg_x.py tests/transports tests/udp"
	tests="$tests tests/wireguard/core/test_ways.py"
fi
case $1 in
*/*) python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1") ;; # it is called from elsewhere
*) python=$1 ;;
esac
shift
[ $# -gt 0 ] || set -- $tests
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# Not what others who run at the same time make and remove.
tar --create --exclude=__pycache__ --exclude=target --exclude='*.so' \
	aiotun tests tools pyproject.toml setup.py README.md LICENSE | tar --extract --directory="$scratch"
cd "$scratch"

flags="-fsanitize=$sanitizers -fno-sanitize-recover=undefined"
CC=gcc LDSHARED="gcc -shared $flags" CFLAGS="$flags -g -fno-omit-frame-pointer" \
	"$python" setup.py -q build_ext --inplace
ls aiotun/native/_native*.so aiotun/native/_aead*.so >/dev/null

# Python does not free everything at its end, and its own allocator would hide what is
# read beyond an end. The thread sanitizer knows fewer layouts of memory than Linux
# chooses from: -R. It has the last word on how the run ends, behind pytest.
export ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc
export TSAN_OPTIONS="die_after_fork=0 suppressions=$PWD/tools/tsan.supp"
LD_PRELOAD=$(gcc -print-file-name="$library") setarch -R "$python" -m pytest \
	-p no:cacheprovider -o timeout=600 -o faulthandler_timeout=630 --capture=sys "$@"
