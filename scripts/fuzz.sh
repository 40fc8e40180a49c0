#!/usr/bin/env bash
# fuzz.sh [TIME]: runs every fuzz target of the module for TIME (10s).
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10s}

# go test -list prints the names of a package, then its "ok" line.
targets=$(go test -list '^Fuzz' ./... | awk '
	/^Fuzz/ { name[n++] = $1 }
	/^ok/   { for (i = 0; i < n; i++) print $2, name[i]; n = 0 }')
test -n "$targets" || { echo "fuzz: found no targets" >&2; exit 1; }

log=$(mktemp)
trap 'rm -f "$log"' EXIT
fuzz() { go test -run '^$' -fuzz "^$2\$" -fuzztime "$time" "$1" >"$log" 2>&1; }

while read -r pkg name; do
	# On a busy machine the engine may miss its own deadline and call that a
	# failure of the target: without a failing input, try again.
	if fuzz "$pkg" "$name" ||
		{ grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input' "$log" && fuzz "$pkg" "$name"; }; then
		echo "fuzz: $pkg $name: $(grep -oE 'execs: [0-9]+' "$log" | tail -1)"
	else
		cat "$log"
		exit 1
	fi
done <<<"$targets"
