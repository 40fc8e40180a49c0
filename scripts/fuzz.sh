#!/usr/bin/env bash
# fuzz.sh [TIME]: runs every fuzz target of the module for TIME (10s), on each core
# another one: a core that links or starts one would else keep the others waiting.
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZ_TIME=${1:-10s}

# go test -list prints the names of a package, then its "ok" line.
targets=$(go test -list '^Fuzz' ./... | awk '
	/^Fuzz/ { name[n++] = $1 }
	/^ok/   { for (i = 0; i < n; i++) print $2, name[i]; n = 0 }')
test -n "$targets" || { echo "fuzz: found no targets" >&2; exit 1; }

target() {
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	fuzz() { go test -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZ_TIME" -parallel 1 "$1" >"$log" 2>&1; }
	# On a busy machine the engine may miss its own deadline and call that a
	# failure of the target: without a failing input, try again.
	if fuzz "$1" "$2" ||
		{ grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input' "$log" && fuzz "$1" "$2"; }; then
		echo "fuzz: $1 $2: $(grep -oE 'execs: [0-9]+' "$log" | tail -1)"
	else
		cat "$log"
		exit 255 # by which xargs starts no others
	fi
}
export -f target
xargs -P "$(nproc)" -L 1 bash -c 'set -euo pipefail; target "$@"' fuzz <<<"$targets"
