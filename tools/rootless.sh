#!/bin/sh
# Run the demo and tests in a copy of the project as a user without privileges, who may open the
# TUN node: tools/rootless.sh [TESTS]. It takes root, which makes that user and that node.
set -eu
cd "$(dirname "$0")/.."
# Of the last two nothing asks who runs it.
[ $# -gt 0 ] || set -- tests/cli tests/flows/test_rootless.py tests/offload/test_kernel_split.py tests/platforms tests/probes \
	tests/test_*.py --ignore=tests/test_left_out.py --ignore=tests/test_typing.py
user=aiotun-rootless
id -u "$user" >/dev/null 2>&1 || useradd --system --shell /usr/sbin/nologin "$user"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
git ls-files -z | tar --create --null --files-from=- | tar --extract --directory="$scratch"
chown -R "$user:" "$scratch"
cd "$scratch"
# The node is in a mount namespace: the machine's own one stays as it is.
unshare --mount sh -euc '
	user=$1
	shift
	mount -t tmpfs -o mode=755 tmpfs /dev/net
	mknod /dev/net/tun c 10 200
	chmod 666 /dev/net/tun
	exec setpriv --reuid="$user" --regid="$user" --clear-groups env HOME="$PWD" sh -euc "
		make demo
		make .venv/developer
		.venv/bin/python -m pytest \"\$@\"
	" sh "$@"
' sh "$user" "$@"
