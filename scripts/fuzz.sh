#!/usr/bin/env bash
# fuzz.sh [TIME]: runs every fuzz target of the module for TIME (10s), on each core
# another package's: a core that links or starts one would else keep the others waiting.
#
# go test -fuzz instruments all that a test imports, so that every dependency is compiled
# once more, and it links a binary for each target. Here a package is linked once, and
# what guides the engine is what decodes: this module and the formats' own libraries.
set -euo pipefail
cd "$(dirname "$0")/.."
FUZZ_TIME=${1:-10s}
FUZZ_BINS=$(mktemp -d)
FUZZ_CACHE=$(go env GOCACHE)/fuzz
export FUZZ_TIME FUZZ_BINS FUZZ_CACHE
trap 'rm -rf "$FUZZ_BINS"' EXIT

package() {
	import=$(go list "./$1")
	bin=$FUZZ_BINS/${1//\//.} log=$FUZZ_BINS/${1//\//.}.log
	instrument=()
	for decodes in 'github.com/hashstream/...' 'github.com/ipfs/...' 'github.com/ipld/...' 'github.com/multiformats/...'; do
		instrument+=("-gcflags=$decodes=-d=libfuzzer")
	done
	GOGC=400 go test -c -vet=off -ldflags=-w "${instrument[@]}" -o "$bin" "./$1"
	cd "$1"
	names=$("$bin" -test.list '^Fuzz')
	test -n "$names"
	for name in $names; do target "$name"; done
	rm "$bin"
}
target() {
	# Minimizing a find is given a second, not a minute: large inputs would get nothing else.
	fuzz() {
		"$bin" -test.run '^$' -test.fuzz "^$1\$" -test.fuzztime "$FUZZ_TIME" -test.parallel 1 \
			-test.fuzzminimizetime 1s -test.fuzzcachedir "$FUZZ_CACHE/$import" >"$log" 2>&1
	}
	# On a busy machine the engine may miss its own deadline and call that a
	# failure of the target: without a failing input, try again.
	if fuzz "$1" ||
		{ grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input' "$log" && fuzz "$1"; }; then
		if ! grep 'without coverage guidance' "$log"; then
			echo "fuzz: $import $1: $(grep -oE 'execs: [0-9]+' "$log" | tail -1)"
			return
		fi
	fi
	cat "$log"
	return 1
}
export -f package target

# Those with the most targets first, so that no core ends long before the other.
packages=$(git grep -cE '^func Fuzz[A-Z]' -- '*_test.go' | sort -t: -k2nr | sed -E 's|/[^/]*$||' | awk '!seen[$0]++')
test -n "$packages" || { echo "fuzz: found no targets" >&2; exit 1; }
# After a status of 255 xargs starts no others.
xargs -P "$(nproc)" -I{} bash -c 'trap "exit 255" ERR; set -eEuo pipefail; package "$1"' fuzz {} <<<"$packages"
