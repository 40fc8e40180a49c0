#!/usr/bin/env bash
# run.sh: serves a sample of this repository from a fresh home until Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."
listen=${LISTEN:-127.0.0.1:8080}
home=$(mktemp -d -t hashstream.XXXXXX)
trap 'rm -rf "$home"' EXIT

bin/hashstream --home "$home" init >/dev/null
cid=$(bin/hashstream --home "$home" add --quiet docs)
cat <<TEXT
Added docs/ as
  $cid
Try in another terminal:
  curl -o docs.car 'http://$listen/ipfs/$cid?format=car'
  bin/hashstream get $cid -o copy --gateway http://$listen
TEXT
bin/hashstream --home "$home" serve --listen "$listen"
