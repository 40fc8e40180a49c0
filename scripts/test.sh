#!/usr/bin/env bash
# test.sh: runs the tests of every module. Those of bench/ and interop/ wait more than
# they compute, so they run beside the main module's, and print when those have ended.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
set -m # with a process group of its own
(cd bench && go test ./... && cd ../interop && go test -timeout 20m ./...) >"$log" 2>&1 &
beside=$!
set +m
stop() {
	trap - EXIT
	kill -- "-$beside" 2>/dev/null || true
	wait "$beside" 2>/dev/null || true
	rm -f "$log"
}
trap stop EXIT
trap 'exit 130' INT TERM

# A process under the race detector sleeps for a second when it ends, for races that
# come last. Many short ones run here: a tenth each.
export GORACE=${GORACE:-atexit_sleep_ms=100}
# Vet is lint's. Three packages at once: many wait, too. The compiler is a fifth faster
# with little garbage collection, of which the tests must know nothing.
status=0
GOGC=400 go test -race -vet=off -exec 'env -u GOGC' -p 3 -timeout 20m ./... || status=$?
wait "$beside" || status=$?
trap 'rm -f "$log"' EXIT # nothing is left to be stopped
cat "$log"
exit "$status"
