#!/bin/sh
# Build the native module with the address and the undefined-behaviour sanitizer, in a copy
# of the project, and run there the tests that use it: tools/sanitize.sh PYTHON [TESTS]
set -eu
case $1 in
*/*) python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1") ;; # it is called from elsewhere
*) python=$1 ;;
esac
shift
[ $# -gt 0 ] || set -- tests/offload tests/transports
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM
cp -R aiotun tests tools pyproject.toml setup.py README.md LICENSE "$scratch"
cd "$scratch"
rm -f aiotun/offload/_native*.so

flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined"
CC=gcc LDSHARED="gcc -shared $flags" CFLAGS="$flags -g -fno-omit-frame-pointer" \
	"$python" setup.py -q build_ext --inplace
ls aiotun/offload/_native*.so >/dev/null

# Python does not free everything at its end, and its own allocator would hide what is
# read beyond an end.
export ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc
LD_PRELOAD=$(gcc -print-file-name=libasan.so) "$python" -m pytest -p no:cacheprovider -o timeout=600 "$@"
