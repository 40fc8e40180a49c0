package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashstream/hashstream/ipni/dhash"
)

// The configuration that keeps a provider index small: memory for records that are not yet in
// segments, and a heap that Go collects before it grows beyond that.
const (
	smallTables = 128 * mib
	smallHeap   = "GOMEMLIMIT=384MiB"
)

// indexMemory writes many records, and then has a node look them up and ingest more at the same time.
func indexMemory(ctx context.Context, b *bench) error {
	if b.binary == "" {
		return nil
	}
	n := b.scale.memory
	dir, err := b.room(int64(n)*250 + 2*gib)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	home, err := b.newHome(ctx, dir)
	if err != nil {
		return err
	}
	m, err := b.runFill(ctx, fill{dir: filepath.Join(home, "ipni", "values"), records: n, keyBytes: dhash.KeySize, value: sealedValue,
		memory: smallTables, lookups: b.scale.lookups}, smallHeap)
	if err != nil {
		return err
	}
	b.record("ipni-mem-write", sysHashstream, sample{Value: float64(m.Peak) / mib})
	b.note("With little memory, %d records were written at %.0f a second, merges included; a hit then takes %.1f µs, a miss %.2f µs.",
		n, float64(n)/(m.Write+m.Compact), m.Hit, m.Miss)
	chains, err := makeChains(dir, publishers, n/25)
	if err != nil {
		return err
	}
	publisher, err := b.startPublisher(ctx, chains)
	if err != nil {
		return err
	}
	defer publisher.stop()
	node, err := b.startHashstream(ctx, home, append([]string{fmt.Sprintf("HASHSTREAM_IPNI_MEMORY=%d", smallTables), smallHeap}, ingesting...)...)
	if err != nil {
		return err
	}
	defer node.stop()
	return b.nodeMemory(ctx, node, publisher, chains)
}

// nodeMemory records the memory of a node under load.
func (b *bench) nodeMemory(ctx context.Context, node, publisher *server, chains []*chain) error {
	n := b.scale.memory
	if err := checkLookups(ctx, node.addr, n, 200); err != nil {
		return err
	}
	script, err := b.writeScript("ipni-mem", lookupPaths(n, b.scale.lookups))
	if err != nil {
		return err
	}
	ingested := make(chan error, 1)
	go func() {
		_, err := follow(ctx, node, publisher, chains)
		ingested <- err
	}()
	w, err := b.wrk(ctx, node, script, jsonType, 2*b.scale.load)
	if ierr := <-ingested; ierr != nil {
		return ierr
	}
	if err != nil {
		return err
	}
	now, peak, err := memory(node.cmd.Process.Pid)
	if err != nil {
		return err
	}
	b.record("ipni-mem-node", sysHashstream, sample{Value: float64(peak) / mib})
	b.note("The node with little memory answered %.0f lookups a second during ingestion, cold at first, and has %d MiB resident afterwards.", w.perSecond(), now/mib)
	return nil
}
