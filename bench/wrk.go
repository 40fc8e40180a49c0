package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// wrkScript cycles through the paths of a file. Its result is one line: requests,
// bytes, microseconds, failures.
const wrkScript = `
local requests, i = {}, 0
local threads = 0
function setup(thread) thread:set("first", threads * 997); threads = threads + 1 end
function init(args)
	for path in io.lines("%s") do requests[#requests + 1] = wrk.format("GET", path) end
	i = first
end
function request()
	i = i + 1
	return requests[i %% #requests + 1]
end
function done(summary, latency, _)
	local e = summary.errors
	io.write(string.format("RESULT %%d %%d %%d %%d\n", summary.requests, summary.bytes, summary.duration,
		e.connect + e.read + e.write + e.status + e.timeout))
end
`

// rawBlocks measures requests for n different blocks on 16 connections.
func rawBlocks(leaf int64, n int, row string) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		d, err := b.dataset(ctx, leaf)
		if err != nil {
			return err
		}
		dir, paths, err := b.blockFiles(d, n)
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		script, err := b.writeScript(row, paths)
		if err != nil {
			return err
		}
		return b.inTurn(ctx, []string{sysHashstream, sysNginx, sysBoxo, sysHandler}, func(round int, system string) error {
			return b.withServer(ctx, system, d, dir, func(s *server) error {
				if round == 0 {
					if err := checkBlock(ctx, s, paths[len(paths)/2], leaf); err != nil {
						return err
					}
				}
				if _, err := b.wrk(ctx, s, script, rawType, b.scale.load/5); err != nil { // verifies and warms up
					return err
				}
				m, err := b.wrk(ctx, s, script, rawType, b.scale.load)
				if err != nil {
					return err
				}
				b.record(row, system, sample{m.perSecond(), m.cpuPerGiB()})
				return nil
			})
		})
	}
}

// checkBlock looks at the size of one block.
func checkBlock(ctx context.Context, s *server, path string, want int64) error {
	c := newClient()
	defer c.CloseIdleConnections()
	n, err := request(ctx, c, "GET", "http://"+s.addr+path, &tail{})
	if err == nil && n != want {
		err = fmt.Errorf("a block of %d bytes, want %d", n, want)
	}
	return err
}

func (b *bench) writeScript(row string, paths []string) (string, error) {
	list, script := filepath.Join(b.work, row+".txt"), filepath.Join(b.work, row+".lua")
	return script, errors.Join(
		os.WriteFile(list, []byte(strings.Join(paths, "\n")+"\n"), 0o644),
		os.WriteFile(script, fmt.Appendf(nil, wrkScript, list), 0o644))
}

// rawType is what raw blocks are asked for with.
const rawType = "application/vnd.ipld.raw"

// wrk runs wrk against s.
func (b *bench) wrk(ctx context.Context, s *server, script, accept string, long time.Duration) (measured, error) {
	long = max(long.Round(time.Second), time.Second)
	cpu := s.cpu()
	f, err := runToEnd(ctx, toolPath("wrk"), "-t", strconv.Itoa(b.threads), "-c", "16", "-d", long.String(),
		"-H", "Accept: "+accept, "-s", script, "http://"+s.addr)
	if err != nil {
		return measured{}, err
	}
	m, err := parseWrk(f.stdout)
	m.cpu = s.cpu() - cpu
	return m, err
}

// parseWrk reads the line that wrkScript writes.
func parseWrk(out string) (measured, error) {
	_, rest, ok := strings.Cut(out, "RESULT ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 4 {
		return measured{}, fmt.Errorf("wrk says %q", out)
	}
	var v [4]int64
	for i := range v {
		var err error
		if v[i], err = strconv.ParseInt(fields[i], 10, 64); err != nil {
			return measured{}, err
		}
	}
	m := measured{requests: v[0], bytes: v[1], wall: time.Duration(v[2]) * time.Microsecond}
	if v[3] > 0 || m.requests == 0 {
		return m, fmt.Errorf("%d of %d requests failed", v[3], m.requests)
	}
	return m, nil
}
