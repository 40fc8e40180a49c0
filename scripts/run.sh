#!/usr/bin/env bash
# run.sh: serves the sample of this repository from a fresh home until Ctrl-C.
# LISTEN is the address, 127.0.0.1:8080 unless it is set.
set -euo pipefail
cd "$(dirname "$0")/.."
listen=${LISTEN:-127.0.0.1:8080}
home=$(mktemp -d -t hashstream.XXXXXX)
node=
finish() {
	trap - EXIT INT TERM
	if test -n "$node"; then
		kill -INT "$node" 2>/dev/null || true
		wait "$node" 2>/dev/null || true
	fi
	rm -rf "$home"
	exit "${1:-0}"
}
trap 'finish $?' EXIT
trap 'finish 0' INT TERM

# Nothing but the defaults applies, whatever the user's environment says.
for name in $(compgen -e HASHSTREAM_ || true); do unset "$name"; done
export HASHSTREAM_HOME=$home HASHSTREAM_LOG_FORMAT=text

cid=$(bin/hashstream add --quiet sample)
bin/hashstream serve --listen "$listen" --admin 127.0.0.1:0 >"$home/addresses" &
node=$!
until grep -q '^admin ' "$home/addresses"; do
	if ! kill -0 "$node" 2>/dev/null; then
		echo "run: no node came up on $listen; LISTEN=127.0.0.1:8081 make run takes another address" >&2
		node=
		finish 1
	fi
	sleep 0.05
done
url=$(sed -n 's/^gateway //p' "$home/addresses")
cat <<TEXT

Serving sample/ as
  $cid

Try in another terminal:
  bin/hashstream get $cid -o copy -g $url
  curl -o hello.txt '$url/ipfs/$(bin/hashstream add --dry-run --quiet sample/hello.txt)?format=raw'
  curl -o sample.car '$url/ipfs/$cid?format=car'

Ctrl-C stops it.

TEXT
wait "$node" || { node=; finish 1; }
