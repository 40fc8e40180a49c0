#!/usr/bin/env bash
# with-servers.sh COMMAND…: runs COMMAND beside a fresh server of every kind in
# scripts/servers, on free loopback ports, and stops them after it. TEST_<NAME> is
# the address of each, for instance TEST_POSTGRES.
#
# A server script is called as
#   NAME install        to install what it needs, once
#   NAME DIR [PORT]     to run in the foreground with its state below DIR; it prints
#                       its address on one line when it is ready, and stops on SIGTERM.
set -euo pipefail
scripts=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d -t hashstream-servers.XXXXXX)
chmod 755 "$dir"
pids=()
stop() {
	trap - EXIT
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
	rm -rf "$dir"
}
trap stop EXIT
trap 'exit 130' INT TERM

for script in "$scripts"/servers/*; do "$script" install; done
for script in "$scripts"/servers/*; do
	name=$(basename "$script")
	mkdir "$dir/$name"
	"$script" "$dir/$name" >"$dir/$name.url" 2>"$dir/$name.log" &
	pids+=($!)
done
i=0
for script in "$scripts"/servers/*; do
	name=$(basename "$script")
	for _ in $(seq 600); do
		if test -s "$dir/$name.url"; then break; fi
		if ! kill -0 "${pids[$i]}" 2>/dev/null; then break; fi
		sleep 0.1
	done
	if ! test -s "$dir/$name.url"; then
		echo "with-servers: $name did not start:" >&2
		tail -20 "$dir/$name.log" >&2
		exit 1
	fi
	export "TEST_${name^^}=$(head -1 "$dir/$name.url")"
	i=$((i + 1))
done
"$@"
