package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// wholeCAR measures the whole-DAG CAR of one leaf size. In each round each server is
// started anew: hashstream's first answer, which verifies every block, is the row of
// the first serve; then every server answers again and again.
func wholeCAR(leaf int64, suffix string) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		d, err := b.dataset(ctx, leaf)
		if err != nil {
			return err
		}
		return b.inTurn(ctx, []string{sysHashstream, sysNginx, sysBoxo, sysCeiling}, func(round int, system string) error {
			if system == sysHashstream {
				b.record("first-"+suffix, sysBound, sample{Value: hashRate(1, time.Second/2) * float64(cores())})
			}
			return b.withServer(ctx, system, d, d.carRoot, func(s *server) error {
				return b.serveCAR(ctx, s, d, round, system, suffix)
			})
		})
	}
}

func (b *bench) serveCAR(ctx context.Context, s *server, d *dataset, round int, system, suffix string) error {
	r := &receiver{buf: make([]byte, mib), copies: b.copies}
	one := func() (int64, error) { return d.carSize, r.get(ctx, s.addr, d.path(), d.carSize) }
	first, err := b.load(s, 1, one)
	if err != nil {
		return err
	}
	if system == sysHashstream {
		b.record("first-"+suffix, system, sample{first.mibPerSecond(), first.cpuPerGiB()})
	}
	if round == 0 {
		sum, err := bodySum(ctx, s.addr, d.path())
		if err != nil {
			return err
		}
		if sum != d.carSum {
			return errors.New("sends other bytes than the prepared CAR")
		}
	}
	own := ownCPU()
	warm, err := b.load(s, 0, one)
	if err != nil {
		return err
	}
	own = ownCPU() - own
	b.record("car-"+suffix, system, sample{warm.mibPerSecond(), warm.cpuPerGiB()})
	if system == sysHashstream {
		warm.cpu = own
		b.record("car-"+suffix, sysClient, sample{CPU: warm.cpuPerGiB()})
	}
	return nil
}

// withServer runs f with a fresh server, which it stops.
func (b *bench) withServer(ctx context.Context, system string, d *dataset, root string, f func(*server) error) error {
	s, err := b.startSystem(ctx, system, d, root)
	if err != nil {
		return err
	}
	defer s.stop()
	err = f(s)
	if log := lastLine([]byte(s.log.String())); err != nil && log != "" {
		return fmt.Errorf("%w; its log ends: %s", err, log)
	}
	return err
}

// measured is what a load did.
type measured struct {
	requests, bytes int64
	wall, cpu       time.Duration
}

func (m measured) mibPerSecond() float64 { return float64(m.bytes) / mib / m.wall.Seconds() }
func (m measured) perSecond() float64    { return float64(m.requests) / m.wall.Seconds() }
func (m measured) cpuPerGiB() float64    { return m.cpu.Seconds() / float64(m.bytes) * gib }

// load calls request, which returns its bytes, n times, or if n is 0 for half the
// load time of this run.
func (b *bench) load(s *server, n int, request func() (int64, error)) (measured, error) {
	var m measured
	cpu, start := s.cpu(), time.Now()
	for i := 0; i < n || n == 0 && time.Since(start) < b.scale.load/2; i++ {
		bytes, err := request()
		if err != nil {
			return m, err
		}
		m.bytes += bytes
		m.requests++
	}
	m.wall, m.cpu = time.Since(start), s.cpu()-cpu
	return m, nil
}

// entityBytes asks for 1 MiB in the middle of the file, on one connection, from
// another offset each time.
func entityBytes(ctx context.Context, b *bench) error {
	d, err := b.dataset(ctx, 256*kib)
	if err != nil {
		return err
	}
	return b.inTurn(ctx, []string{sysHashstream, sysBoxo}, func(_ int, system string) error {
		return b.withServer(ctx, system, d, "", func(s *server) error {
			c := newClient()
			defer c.CloseIdleConnections()
			i, step := int64(0), min(mib/2, (d.size/2-mib)/15) // all 16 ranges are inside of the file
			one := func() (int64, error) {
				from := d.size/2 + i%16*step
				i++
				url := fmt.Sprintf("http://%s%s&dag-scope=entity&entity-bytes=%d:%d", s.addr, d.path(), from, from+mib-1)
				return request(ctx, c, http.MethodGet, url, io.Discard)
			}
			if _, err := b.load(s, 16, one); err != nil { // verifies and warms up
				return err
			}
			m, err := b.load(s, 0, one)
			if err != nil {
				return err
			}
			if size := m.bytes / m.requests; size < mib || size > 2*mib {
				return fmt.Errorf("sends %d bytes for 1 MiB", size)
			}
			b.record("entity", system, sample{m.perSecond(), m.cpuPerGiB()})
			return nil
		})
	})
}

// head1G measures HEAD of the CAR with leaves of 1 MiB.
func head1G(ctx context.Context, b *bench) error {
	d, err := b.dataset(ctx, mib)
	if err != nil {
		return err
	}
	return b.inTurn(ctx, []string{sysHashstream, sysNginx, sysBoxo}, func(_ int, system string) error {
		return b.withServer(ctx, system, d, d.carRoot, func(s *server) error {
			return b.heads(ctx, s, d.path(), "head", system)
		})
	})
}

// heads records the median time of 300 HEAD requests on one connection, or of those
// that the load time of this run allows.
func (b *bench) heads(ctx context.Context, s *server, path, row, system string) error {
	c := newClient()
	defer c.CloseIdleConnections()
	var ms []float64
	for began := time.Now(); len(ms) < 300 && time.Since(began) < b.scale.load; {
		start := time.Now()
		if _, err := request(ctx, c, http.MethodHead, "http://"+s.addr+path, io.Discard); err != nil {
			return err
		}
		ms = append(ms, time.Since(start).Seconds()*1000)
	}
	b.record(row, system, sample{Value: median(ms)})
	return nil
}

// slowReaders measures the memory of a fresh server with 64 readers of 1 MiB/s.
func slowReaders(ctx context.Context, b *bench) error {
	d, err := b.dataset(ctx, mib)
	if err != nil {
		return err
	}
	return b.inTurn(ctx, []string{sysHashstream, sysBoxo}, func(_ int, system string) error {
		return b.withServer(ctx, system, d, "", func(s *server) error {
			n, err := readSlowly(ctx, s.addr, d.path(), 64, b.scale.slow)
			if err != nil {
				return err
			}
			b.logf("    the slow readers got %d MiB", n/mib)
			if want := int64(64 * mib * b.scale.slow.Seconds() / 2); n < want {
				b.note("The slow readers of %s got %d MiB, less than they asked for.", system, n/mib)
			}
			now, peak, err := memory(s.cmd.Process.Pid)
			if err != nil {
				return err
			}
			b.record("mem-serve", system, sample{Value: float64(peak) / mib})
			b.record("mem-serve-now", system, sample{Value: float64(now) / mib})
			return nil
		})
	})
}
