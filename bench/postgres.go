package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/jackc/pgx/v5"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/pgkv"
)

const (
	// pgConns is how many connections, and goroutines, find at the same time.
	pgConns = 16
	// pgRate is how many finds each begins a second, if they are paced.
	pgRate = 250
)

// postgres measures an index in a PostgreSQL on loopback, whose files are on disk and
// synced: records written in batches, and finds on 16 connections, first paced and then
// as fast as possible.
func postgres(ctx context.Context, b *bench) error {
	k, err := startKit(ctx, "postgres", b.bigDir)
	if err != nil {
		return err
	}
	defer k.close()
	store, err := pgkv.Open(ctx, k.url, &pgkv.Options{Conns: pgConns})
	if err != nil {
		return err
	}
	defer store.Close()
	conn, err := pgx.Connect(ctx, k.url)
	if err != nil {
		return errors.New("connect to PostgreSQL") // the driver's error may tell the password
	}
	defer conn.Close(context.WithoutCancel(ctx))
	p := &pgBench{b: b, store: store, conn: conn, x: index.New(store, nil)}
	if err := p.fill(ctx, b.scale.pgRecords); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "VACUUM ANALYZE"); err != nil { // as the server does by itself, some time
		return err
	}
	err = b.inTurn(ctx, []string{sysHashstream, sysKV, sysCopyFrom}, func(_ int, system string) error {
		return p.write(ctx, system)
	})
	if err != nil {
		return err
	}
	return b.inTurn(ctx, []string{sysHashstream, sysKV}, func(round int, system string) error {
		at, _, err := p.find(ctx, system, uint64(round), time.Second/pgRate)
		if err != nil {
			return err
		}
		b.record("pg-p99", system, sample{Value: at(0.99).Seconds() * 1000})
		b.logf("    median %s, p99.9 %s", at(0.5), at(0.999))
		at, rate, err := p.find(ctx, system, uint64(round), 0)
		if err != nil {
			return err
		}
		b.record("pg-p99-full", system, sample{Value: at(0.99).Seconds() * 1000})
		b.record("pg-finds", system, sample{Value: rate})
		b.logf("    median %s, p99.9 %s", at(0.5), at(0.999))
		return nil
	})
}

type pgBench struct {
	b     *bench
	store *pgkv.Store
	conn  *pgx.Conn
	x     *index.Index
	packs int // written so far
}

// fill writes n records, of packs like those of the row of pebblekv.
func (p *pgBench) fill(ctx context.Context, n int) error {
	for end := p.packs + (n+packRecords-1)/packRecords; p.packs < end; p.packs++ {
		if err := putPack(ctx, p.store, p.packs); err != nil {
			return err
		}
	}
	p.b.scale.pgRecords = p.packs * packRecords
	return nil
}

// pgBatch is how many records are written at a time: a worker that hashed some 512
// files writes about as many.
const pgBatch = 1024

// write writes records for half the load time, a batch after the other.
func (p *pgBench) write(ctx context.Context, system string) error {
	write := map[string]func(context.Context, int) error{
		sysHashstream: p.writeIndex, sysKV: p.writeKV, sysCopyFrom: p.writeCopy,
	}[system]
	if system == sysCopyFrom {
		if _, err := p.conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS copied (key bytea PRIMARY KEY, value bytea NOT NULL)"); err != nil {
			return err
		}
	}
	n, start := 0, time.Now()
	for time.Since(start) < p.b.scale.load {
		if err := write(ctx, p.packs*packRecords); err != nil {
			return err
		}
		p.packs += pgBatch / packRecords
		n += pgBatch
	}
	p.b.record("pg-write", system, sample{Value: float64(n) / time.Since(start).Seconds()})
	return nil
}

// writeIndex writes records from number n on, as importing does.
func (p *pgBench) writeIndex(ctx context.Context, n int) error {
	blocks := index.NewBlocks(p.store)
	for i := range pgBatch {
		pack := index.Location{Pack: recordDigest(-(n+i)/packRecords - 1)}
		blocks.Put(ctx, recordDigest(n+i), pack, int64(i%packRecords)*256*kib, 256*kib)
	}
	return blocks.Flush(ctx)
}

// writeKV writes keys and values of the same sizes.
func (p *pgBench) writeKV(ctx context.Context, n int) error {
	ops := make([]kv.Op, pgBatch)
	for i := range ops {
		ops[i] = kv.Put(pairOf(n + i))
	}
	return p.store.Batch(ctx, ops)
}

func (p *pgBench) writeCopy(ctx context.Context, n int) error {
	_, err := p.conn.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"key", "value"}, pgx.CopyFromSlice(pgBatch, func(i int) ([]any, error) {
		key, value := pairOf(n + i)
		return []any{key, value}, nil
	}))
	return err
}

// pairOf is a pair as an index writes it for a block.
func pairOf(n int) (key, value []byte) {
	d := recordDigest(n)
	key = append(append([]byte("x"), d.Bytes()...), recordDigest(-n - 1).Bytes()[:16]...)
	return key, d.Bytes()[:8]
}

// find finds random records on every connection, each one every so often at most. It returns the
// quantiles of the time of a find, and finds a second.
func (p *pgBench) find(ctx context.Context, system string, round uint64, every time.Duration) (at func(float64) time.Duration, rate float64, err error) {
	one := p.findIndex
	if system == sysKV {
		one = p.findKV
	}
	times, errs := make([][]time.Duration, pgConns), make([]error, pgConns)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range pgConns {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(round, uint64(i)))
			due := start.Add(every * time.Duration(i) / pgConns)
			for time.Since(start) < p.b.scale.load && errs[i] == nil {
				time.Sleep(time.Until(due))
				due = due.Add(every)
				d := recordDigest(random.IntN(p.b.scale.pgRecords))
				began := time.Now()
				errs[i] = one(ctx, d)
				times[i] = append(times[i], time.Since(began))
			}
		})
	}
	wg.Wait()
	all := slices.Sorted(slices.Values(slices.Concat(times...)))
	rate = float64(len(all)) / time.Since(start).Seconds()
	return func(q float64) time.Duration { return all[int(q*float64(len(all)-1))] }, rate, errors.Join(errs...)
}

// findIndex finds all that is known of a block.
func (p *pgBench) findIndex(ctx context.Context, d digest.Digest) error {
	found := 0
	for r, err := range p.x.Find(ctx, d, digest.Digest{}) {
		if err != nil {
			return err
		}
		if r.Length == 256*kib {
			found++
		}
	}
	if found != 1 {
		return fmt.Errorf("%d records of %s, want 1", found, d.CID(cid.Raw))
	}
	return nil
}

// findKV scans the keys of a block, which is one query.
func (p *pgBench) findKV(ctx context.Context, d digest.Digest) error {
	found := 0
	for _, err := range p.store.Scan(ctx, kv.Prefix(append([]byte("b"), d.Bytes()...))) {
		if err != nil {
			return err
		}
		found++
	}
	if found != 1 {
		return fmt.Errorf("%d keys of %s, want 1", found, d.CID(cid.Raw))
	}
	return nil
}
