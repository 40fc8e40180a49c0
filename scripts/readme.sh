#!/usr/bin/env bash
# readme.sh FILE: runs what FILE shows, and compares what it prints.
#
# It takes the fenced blocks of kind "console" that stand right after a line
# <!-- run --> and runs their commands (the lines that begin with "$ ") in one
# shell, in a fresh directory with a fresh home, with bin/hashstream in the path.
# The lines below a command are what it must print, on either stream; a line "…"
# stands for any lines, another "…" for anything. A command that ends in &, and those of a block after
# <!-- run in the background -->, go on: the script waits for what they print.
# "git clone" clones the commit that is checked out here, $SAMPLE is its sample, and
# free ports stand in for 8080, 8081 and 5080. Under with-servers.sh the real servers
# stand in for an S3 server on port 9000 (whose credentials are in the environment, as
# AWS has them), PostgreSQL on 5432 and NATS on 4222.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
limit=300 # seconds, for all

dir=$(mktemp -d)
watch=
finish() {
	status=$?
	trap - EXIT INT TERM
	for pid in $(jobs -p); do kill -INT -- "-$pid" 2>/dev/null || true; done
	for pid in $(jobs -p); do test "$pid" = "$watch" || wait "$pid" 2>/dev/null || true; done
	rm -rf "$dir"
	exit "$status"
}
trap finish EXIT
trap 'exit 1' INT
trap 'echo "readme: not done after $limit s" >&2; exit 1' TERM

# A port is free if nothing answers on it.
port() {
	for p in $(shuf -i 20000-30000 -n 50); do
		(: <"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo "$p"; return; }
	done
	echo "readme: no port is free" >&2
	return 1
}
public=$(port) second=$(port) admin=$(port)
GOMODCACHE=$(go env GOMODCACHE) GOCACHE=$(go env GOCACHE)
for name in $(compgen -e HASHSTREAM_ || true); do unset "$name"; done
export GOMODCACHE GOCACHE HOME=$dir XDG_DATA_HOME=$dir/data PATH=$root/bin:$PATH
export LISTEN=127.0.0.1:$public HASHSTREAM_GATEWAY_LISTEN=127.0.0.1:$public HASHSTREAM_ADMIN_LISTEN=127.0.0.1:$admin
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'

export SAMPLE=$root/sample
shopt -s expand_aliases

# servers tells sed what stands in for the addresses of servers.
servers() {
	if test -n "${TEST_S3:-}"; then
		local login=${TEST_S3#http://}
		echo "s|http://127\.0\.0\.1:9000|http://${login#*@}|g"
	fi
	if test -n "${TEST_POSTGRES:-}"; then echo "s|postgres://127\.0\.0\.1:5432/hashstream|${TEST_POSTGRES%%\?*}|g"; fi
	if test -n "${TEST_NATS:-}"; then echo "s|nats://127\.0\.0\.1:4222|${TEST_NATS%%\?*}|g"; fi
}
if test -n "${TEST_S3:-}"; then
	login=${TEST_S3#http://} login=${login%%@*}
	export AWS_ACCESS_KEY_ID=${login%%:*} AWS_SECRET_ACCESS_KEY=${login#*:}
fi

git() {
	if test "$1" = clone; then command git clone -q "$root" hashstream; else command git "$@"; fi
}

# matches WANT GOT: whether the file GOT is what WANT says.
matches() {
	local pattern
	pattern=$(sed -e 's/[][\\*?]/\\&/g' -e 's/…/*/g' "$1")
	# shellcheck disable=SC2053 # a pattern
	[[ $(cat "$2") == $pattern ]]
}

# step N COMMAND: runs one command and compares.
step() {
	echo "$ $2"
	if [[ $2 == *\& ]]; then
		set -m # a group of its own, to be ended as one
		eval "$2" >"$dir/$1.got" 2>&1 </dev/null
		set +m
		for _ in $(seq 1200); do
			if matches "$dir/$1.want" "$dir/$1.got"; then return; fi
			sleep 0.1
		done
	else
		eval "$2" >"$dir/$1.got" 2>&1 </dev/null || { cat "$dir/$1.got"; echo "readme: exit code $?" >&2; return 1; }
		if matches "$dir/$1.want" "$dir/$1.got"; then return; fi
	fi
	echo "readme: printed is not what is shown" >&2
	diff "$dir/$1.want" "$dir/$1.got" >&2 || true
	return 1
}

awk -v dir="$dir" '
	/^```/ && inside          { inside = 0; armed = 0; next }
	/^```console$/ && armed   { inside = 1; next }
	inside && sub(/^\$ /, "") { n++; print $0 end >(dir "/commands"); printf "" >(dir "/" n ".want"); next }
	inside                    { print >(dir "/" n ".want"); next }
	NF                        { armed = /^<!-- run( in the background)? -->$/; end = /background/ ? " &" : "" }' "$1"
test -s "$dir/commands" || { echo "readme: $1 shows no commands to run" >&2; exit 1; }
sed -i "s/127\.0\.0\.1:8080/127.0.0.1:$public/g; s/127\.0\.0\.1:8081/127.0.0.1:$second/g; s/127\.0\.0\.1:5080/127.0.0.1:$admin/g" "$dir/commands" "$dir"/*.want

servers >"$dir/servers.sed"
sed -i -f "$dir/servers.sed" "$dir/commands" "$dir"/*.want

set -m
(sleep "$limit" && kill -TERM $$) &
watch=$!
set +m
mkdir "$dir/work"
cd "$dir/work"
n=0
while IFS= read -r command <&3; do
	n=$((n + 1))
	step "$n" "$command"
done 3<"$dir/commands"
echo "readme: $n commands of $1 do what it shows"
