#!/usr/bin/env bash
# readme.sh FILE: runs the commands that FILE shows, in one shell, in a fresh
# directory, with bin/hashstream in the path. It runs the fenced blocks that
# stand right after a line <!-- run -->. In a block of kind "console" the lines
# that begin with "$ " are commands; in one of kind "sh" every line is.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
script=$(awk '
	/^```/ && inside    { inside = 0; next }
	/^```(sh|console)$/ && armed { inside = 1; console = /console/; armed = 0; next }
	inside && console   { if (sub(/^\$ /, "")) print; next }
	inside              { print }
	!inside && NF       { armed = /^<!-- run -->$/ }' "$1")
test -n "$script" || { echo "readme: $1 has no block marked <!-- run -->" >&2; exit 1; }

dir=$(mktemp -d)
# What the commands left running ends with them.
trap 'jobs -p | xargs -r kill 2>/dev/null || true; rm -rf "$dir"' EXIT
export HOME=$dir XDG_DATA_HOME=$dir/data PATH=$root/bin:$PATH
GOMODCACHE=$(go env GOMODCACHE) GOCACHE=$(go env GOCACHE)
export GOMODCACHE GOCACHE
cd "$dir"
set -x
eval "$script"
