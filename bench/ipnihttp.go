package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	putConns   = 8    // connections that write
	putBatch   = 4096 // records of a request, as storetheindex sends them
	lookupRate = 1000 // a second, during writes
	jsonType   = "application/json"
)

// recordServer is a server of records under measurement.
type recordServer struct {
	system  string
	dir     string
	start   func(ctx context.Context) (*server, error)
	writes  string // address that takes records, if it is another than that of lookups
	records uint64 // that it holds
	*server
}

// indexOverHTTP writes records by JSON to a node and to dhstore, the same bodies, and looks them up.
func indexOverHTTP(ctx context.Context, b *bench) error {
	if b.binary == "" {
		return nil
	}
	n := b.scale.index
	dir, err := b.room(int64(n)*700 + 2*gib)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	node, err := b.nodeOfRecords(ctx, dir)
	if err != nil {
		return err
	}
	servers := []*recordServer{node}
	if toolPath(sysDHStore) == "" {
		b.note("There is no dhstore on the PATH: nothing of the provider index is compared with it.")
	} else {
		d := &recordServer{system: sysDHStore, dir: filepath.Join(dir, sysDHStore)}
		d.start = func(ctx context.Context) (*server, error) { return startDHStore(ctx, d.dir) }
		servers = append(servers, d)
	}
	defer func() {
		for _, s := range servers {
			if s.server != nil {
				s.stop()
			}
		}
	}()
	for _, s := range servers {
		if err := s.fill(ctx, b, n); err != nil {
			return fmt.Errorf("%s: %w", s.system, err)
		}
	}
	for _, measure := range []func(context.Context, *bench, []*recordServer) error{lookupRates, lookupsDuringWrites, firstOfMany} {
		if err := measure(ctx, b, servers); err != nil {
			return err
		}
	}
	return nil
}

// nodeOfRecords is a node with the default memory. Records come through its own listener for them.
func (b *bench) nodeOfRecords(ctx context.Context, dir string) (*recordServer, error) {
	home, err := b.newHome(ctx, dir)
	if err != nil {
		return nil, err
	}
	s := &recordServer{system: sysHashstream, dir: filepath.Join(home, "ipni")}
	s.start = func(ctx context.Context) (*server, error) {
		if s.writes, err = freeAddress(); err != nil {
			return nil, err
		}
		return b.startHashstream(ctx, home, "HASHSTREAM_IPNI_ROLES=store,find", "HASHSTREAM_SHARD_LISTEN="+s.writes)
	}
	return s, nil
}

// up starts the server.
func (s *recordServer) up(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	var err error
	s.server, err = s.start(ctx)
	return err
}

// put writes records.
func (s *recordServer) put(ctx context.Context, b *bench, p put) (putDone, error) {
	p.url, p.conns, p.batch = "http://"+cmp.Or(s.writes, s.addr), putConns, putBatch
	if p.long == 0 {
		p.long = time.Hour
	}
	return b.runPut(ctx, p)
}

// fill writes n records and waits until all are merged.
func (s *recordServer) fill(ctx context.Context, b *bench, n uint64) error {
	if err := s.up(ctx); err != nil {
		return err
	}
	start := time.Now()
	done, err := s.put(ctx, b, put{records: n})
	if err != nil {
		return err
	}
	rest, err := quiet(ctx, s.server)
	if err != nil {
		return err
	}
	s.records = done.Records
	took, cpu := max(rest.Sub(start).Seconds(), done.Seconds), s.cpu().Seconds()
	_, peak, err := memory(s.cmd.Process.Pid)
	if err != nil {
		return err
	}
	b.record("ipni-json", s.system, sample{Value: float64(n) / took})
	b.note("JSON PUT, %s: %.0f records/s until all were acknowledged, %.0f s more until all were merged; %.2f µs of CPU a record, and %.2f of the client; %d MiB resident at most.",
		s.system, float64(n)/done.Seconds, took-done.Seconds, cpu*1e6/float64(n), done.CPU*1e6/float64(n), peak/mib)
	if err := interrupt(s.server); err != nil { // which writes what is in memory alone, and removes logs
		return err
	}
	if err := s.up(ctx); err != nil {
		return err
	}
	if _, err := quiet(ctx, s.server); err != nil {
		return err
	}
	size, err := diskBytes(s.dir)
	if err != nil {
		return err
	}
	b.record("ipni-json-size", s.system, sample{Value: float64(size) / float64(n)})
	return checkLookups(ctx, s.addr, n, 200)
}

// lookupRates measures lookups of random records, as fast as possible. All files were read once.
func lookupRates(ctx context.Context, b *bench, servers []*recordServer) error {
	script, err := b.writeScript("ipni-get", lookupPaths(b.scale.index, b.scale.lookups))
	if err != nil {
		return err
	}
	for _, s := range servers {
		if err := readFiles(s.dir); err != nil {
			return err
		}
	}
	least, leastScript, err := b.leastHandler(ctx, servers[0])
	if err != nil {
		return err
	}
	defer least.stop()
	for round := range min(b.rounds, 3) {
		for _, s := range append(slices.Clip(servers), least) {
			script := script
			if s == least {
				script = leastScript
			}
			if _, err := b.wrk(ctx, s.server, script, jsonType, b.scale.load/5); err != nil {
				return err
			}
			m, err := b.wrk(ctx, s.server, script, jsonType, b.scale.load)
			if err != nil {
				return fmt.Errorf("%s: %w", s.system, err)
			}
			b.record("ipni-get", s.system, sample{m.perSecond(), m.cpuPerGiB()})
			if round == 0 {
				b.note("GET, %s: %.1f µs of CPU a lookup.", s.system, m.cpu.Seconds()*1e6/float64(m.requests))
			}
		}
	}
	return nil
}

// leastHandler starts a handler that answers what s once answered, whatever it is asked for.
func (b *bench) leastHandler(ctx context.Context, s *recordServer) (*recordServer, string, error) {
	c := newClient()
	defer c.CloseIdleConnections()
	body, err := lookup(ctx, c, s.addr, lookupPath(0))
	if err != nil {
		return nil, "", err
	}
	if err := os.WriteFile(filepath.Join(b.work, "answer"), body, 0o644); err != nil {
		return nil, "", err
	}
	script, err := b.writeScript("ipni-get-least", []string{"/answer"})
	if err != nil {
		return nil, "", err
	}
	least, err := startServer(ctx, nil, b.self, "handler-serve", b.work)
	return &recordServer{system: sysHandler, server: least}, script, err
}

// readFiles reads all files below dir, so that they are in the page cache if there is room.
func readFiles(dir string) error {
	buf := make([]byte, mib)
	return fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, f, buf)
		return err
	})
}

// lookupsDuringWrites looks up records at a fixed rate while others are written as fast as possible.
func lookupsDuringWrites(ctx context.Context, b *bench, servers []*recordServer) error {
	paths := lookupPaths(b.scale.index, b.scale.lookups)
	slices.Reverse(paths)
	long := 2 * b.scale.load
	for range min(b.rounds, 3) {
		for _, s := range servers {
			writing := make(chan error, 1)
			var done putDone
			go func() {
				var err error
				done, err = s.put(ctx, b, put{first: s.records, records: absent, long: long + b.scale.load/5})
				writing <- err
			}()
			time.Sleep(b.scale.load / 5) // it has begun to write
			times, err := lookupsAtRate(ctx, s.addr, paths, lookupRate, long)
			if werr := <-writing; werr != nil {
				return fmt.Errorf("%s: write: %w", s.system, werr)
			}
			if err != nil {
				return fmt.Errorf("%s: look up: %w", s.system, err)
			}
			s.records += done.Records + putConns*putBatch
			half, p99 := middle(times)
			b.record("ipni-p99", s.system, sample{Value: p99})
			b.logf("    median %.2f ms, longest %.1f ms, beside %.0f records/s", half, slices.Max(times), float64(done.Records)/done.Seconds)
			if _, err := quiet(ctx, s.server); err != nil {
				return fmt.Errorf("%s: %w", s.system, err)
			}
		}
	}
	return nil
}

// firstOfMany writes many values of one key, and asks for them.
func firstOfMany(ctx context.Context, b *bench, servers []*recordServer) error {
	for _, s := range servers {
		if _, err := s.put(ctx, b, put{first: absent, records: hotValues, hot: true}); err != nil {
			return err
		}
		fresh, _, err := firstByte(ctx, s.addr, hotValues)
		if err != nil {
			return fmt.Errorf("%s: %w", s.system, err)
		}
		// Other records push them out of memory.
		if _, err := s.put(ctx, b, put{first: s.records, records: b.scale.index / 5}); err != nil {
			return err
		}
		if _, err := quiet(ctx, s.server); err != nil {
			return err
		}
		first, all, err := firstByte(ctx, s.addr, hotValues)
		if err != nil {
			return fmt.Errorf("%s: %w", s.system, err)
		}
		b.record("ipni-many", s.system, sample{Value: first})
		b.note("GET of %d values, %s: all in %.1f ms; the first byte while they are still in memory: %.2f ms.", hotValues, s.system, all, fresh)
	}
	return nil
}
