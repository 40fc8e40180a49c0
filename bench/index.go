package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/pebblekv"
)

// packRecords is the number of blocks in a pack of 128 MiB with leaves of 256 KiB.
const packRecords = 512

// findRate is how many finds each core begins a second. As fast as
// possible, two cores would measure their own queue.
const findRate = 10_000

// bigIndex fills an index in pebblekv, measures it on disk, and finds all that is known of
// random blocks with one goroutine per core, findRate a second each, while a writer
// adds a pack twenty times a second.
func bigIndex(ctx context.Context, b *bench) error {
	dir := filepath.Join(b.work, "index")
	defer os.RemoveAll(dir)
	packs := (b.scale.records + packRecords - 1) / packRecords
	if err := fillIndex(ctx, dir, packs); err != nil {
		return err
	}
	size, err := diskBytes(dir)
	if err != nil {
		return err
	}
	b.record("index-size", sysHashstream, sample{Value: float64(size) / float64(packs*packRecords)})
	if b.quick {
		b.note("So few records are mostly still in the write-ahead log, and take more there than in tables.")
	}
	store, err := pebblekv.Open(dir, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	x := index.New(store, nil)                        // one for all rounds, as a node has
	defer debug.SetGCPercent(debug.SetGCPercent(300)) // what a node sets
	for round := range b.rounds {
		if err := b.findUnderLoad(ctx, x, store, packs, round); err != nil {
			return err
		}
	}
	return nil
}

func fillIndex(ctx context.Context, dir string, packs int) error {
	store, err := pebblekv.Open(dir, nil)
	if err != nil {
		return err
	}
	defer store.Close()
	for n := range packs {
		if err := putPack(ctx, store, n); err != nil {
			return err
		}
	}
	return store.Close()
}

// putPack records the blocks of pack number n, as an import of a pack does.
func putPack(ctx context.Context, store kv.Store, n int) error {
	return index.PutBlocks(ctx, store, index.LevelSingle, recordDigest(-n-1), sections(n))
}

// sections yields the blocks of pack number n.
func sections(n int) iter.Seq2[car.Section, error] {
	return func(yield func(car.Section, error) bool) {
		offset := int64(60)
		for i := range packRecords {
			s := car.Section{CID: recordDigest(n*packRecords + i).CID(cid.Raw), Offset: offset, Size: 256 * kib}
			offset += s.Size + 40
			if !yield(s, nil) {
				return
			}
		}
	}
}

// recordDigest returns the digest of record number n.
func recordDigest(n int) digest.Digest {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	d, err := digest.FromBytes(append([]byte{0x12, 0x20}, sum[:]...))
	if err != nil {
		panic(err) // the bytes are a sha2-256 multihash
	}
	return d
}

// findUnderLoad records the 99th percentile of the time of a find.
func (b *bench) findUnderLoad(ctx context.Context, x *index.Index, store kv.Store, packs, round int) error {
	ctx, cancel := context.WithTimeout(ctx, b.scale.load)
	defer cancel()
	times, errs := make([][]time.Duration, cores()), make([]error, cores()+1)
	var wg sync.WaitGroup
	for i := range cores() {
		wg.Go(func() { times[i], errs[i] = findRandom(ctx, x, packs*packRecords, uint64(round*cores()+i)) })
	}
	wg.Go(func() { errs[cores()] = writeSteadily(ctx, store, packs+round*1000) })
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	all := slices.Sorted(slices.Values(slices.Concat(times...)))
	if len(all) == 0 {
		return context.Cause(ctx)
	}
	at := func(q float64) time.Duration { return all[int(q*float64(len(all)-1))] }
	b.record("index-p99", sysHashstream, sample{Value: float64(at(0.99).Nanoseconds()) / 1000})
	b.logf("    %d finds, median %s, p99.9 %s", len(all), at(0.5), at(0.999))
	return nil
}

// findRandom finds records until ctx ends.
func findRandom(ctx context.Context, x *index.Index, records int, seed uint64) ([]time.Duration, error) {
	random := rand.New(rand.NewPCG(seed, 7))
	var times []time.Duration
	due := time.Now()
	for ctx.Err() == nil {
		d := recordDigest(random.IntN(records))
		due = due.Add(time.Second / findRate)
		time.Sleep(time.Until(due))
		start := time.Now()
		found := 0
		for r, err := range x.Find(context.WithoutCancel(ctx), d, digest.Digest{}) {
			if err != nil {
				return nil, err
			}
			if r.Length == 256*kib {
				found++
			}
		}
		times = append(times, time.Since(start))
		if found != 1 {
			return nil, fmt.Errorf("%d records of %s, want 1", found, d)
		}
	}
	return times, nil
}

// writeSteadily adds packs from number n on until ctx ends.
func writeSteadily(ctx context.Context, store kv.Store, n int) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := putPack(context.WithoutCancel(ctx), store, n); err != nil {
			return err
		}
	}
}

// diskBytes returns the size of all files below dir.
func diskBytes(dir string) (int64, error) {
	var sum int64
	err := fs.WalkDir(os.DirFS(dir), ".", func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		fi, err := e.Info()
		if err == nil {
			sum += fi.Size()
		}
		return err
	})
	return sum, err
}
