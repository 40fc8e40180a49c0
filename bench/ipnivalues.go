package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore"
	"github.com/hashstream/hashstream/kv/pebblekv"
)

// fill is what a child does that opens a value store and puts records into it, as ingestion does.
type fill struct {
	dir      string
	records  uint64
	keyBytes int
	value    int
	memory   int64
	writers  int
	lookups  int
	hot      uint64 // values of one key, spread over the others
	pebble   bool   // a row of pebble for each value
	profile  string
}

// values is a value store that can be merged whole.
type values interface {
	valuestore.Store
	Compact(ctx context.Context) error
	Close() error
}

// adChunks is how many chunks, each of which is a write, have the same tag.
const adChunks = 16

// filled is what it measured.
type filled struct {
	Write, Compact float64 // seconds
	Generate       float64 // of Write, seconds on all writers together
	Bytes, Peak    int64   // on disk; resident until then
	Hit, HitP99    float64 // µs
	Miss, MissP99  float64
	First, All     float64 // of the key with many values, ms
}

// pebbleRows is values in pebble, a row for each.
type pebbleRows struct {
	*kvstore.Store
	kv *pebblekv.Store
}

func (r pebbleRows) Compact(ctx context.Context) error { return r.kv.Compact(ctx) }
func (r pebbleRows) Close() error                      { return r.kv.Close() }

func (f fill) args() []string {
	return []string{"values-fill", "-dir", f.dir, "-records", fmt.Sprint(f.records), "-key-bytes", strconv.Itoa(f.keyBytes),
		"-value", strconv.Itoa(f.value), "-memory", fmt.Sprint(f.memory), "-lookups", strconv.Itoa(f.lookups), "-hot", fmt.Sprint(f.hot),
		fmt.Sprintf("-pebble=%t", f.pebble)}
}

func valuesFill(args []string) error {
	var f fill
	flags := flag.NewFlagSet("values-fill", flag.ContinueOnError)
	flags.StringVar(&f.dir, "dir", "", "`folder` of the store")
	flags.Uint64Var(&f.records, "records", 1_000_000, "to put")
	flags.IntVar(&f.keyBytes, "key-bytes", dhash.KeySize, "of a key that are kept")
	flags.IntVar(&f.value, "value", sealedValue, "bytes of a value")
	flags.Int64Var(&f.memory, "memory", 0, "bytes of tables; 0 is the default")
	flags.IntVar(&f.writers, "writers", 4, "at the same time")
	flags.IntVar(&f.lookups, "lookups", 100_000, "of each kind")
	flags.Uint64Var(&f.hot, "hot", hotValues, "values of one key")
	flags.BoolVar(&f.pebble, "pebble", false, "keep each value as a row of pebble instead of in segments")
	flags.StringVar(&f.profile, "cpuprofile", "", "write a profile of the writing to this `file`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	relaxGC()
	m, err := f.run(context.Background())
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}

// relaxGC sets what a node does, unless the environment says otherwise.
func relaxGC() {
	if old := debug.SetGCPercent(300); old != 100 {
		debug.SetGCPercent(old)
	}
}

func (f fill) open() (values, error) {
	if !f.pebble {
		return segstore.Open(f.dir, &segstore.Options{KeyBytes: f.keyBytes, Memory: f.memory})
	}
	kv, err := pebblekv.Open(f.dir, nil)
	return pebbleRows{kvstore.New(kv), kv}, err
}

func (f fill) run(ctx context.Context) (m filled, err error) {
	s, err := f.open()
	if err != nil {
		return m, err
	}
	defer s.Close()
	if err := f.write(ctx, s, &m); err != nil {
		return m, err
	}
	if m.Bytes, err = diskBytes(f.dir); err != nil {
		return m, err
	}
	if _, m.Peak, err = memory(os.Getpid()); err != nil {
		return m, err
	}
	for _, look := range []func(context.Context, valuestore.Store, *filled) error{f.hits, f.misses, f.many} {
		if err := look(ctx, s, &m); err != nil {
			return m, err
		}
	}
	return m, s.Close()
}

// write puts all records, and merges them.
func (f fill) write(ctx context.Context, s values, m *filled) error {
	if f.profile != "" {
		w, err := os.Create(f.profile)
		if err != nil {
			return err
		}
		defer w.Close()
		if err := pprof.StartCPUProfile(w); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	var next, generate atomic.Int64
	errs := make([]error, f.writers)
	var group sync.WaitGroup
	start := time.Now()
	for i := range errs {
		group.Go(func() {
			var batch valuestore.Records
			for {
				n := uint64(next.Add(1) - 1)
				if n*chunkHashes >= f.records || errs[i] != nil {
					return
				}
				begun := time.Now()
				batch = f.batch(batch[:0], n*chunkHashes)
				generate.Add(int64(time.Since(begun)))
				errs[i] = s.Put(ctx, valuestore.Tag(1+n/adChunks), batch)
			}
		})
	}
	group.Wait()
	m.Write, m.Generate = time.Since(start).Seconds(), time.Duration(generate.Load()).Seconds()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	start = time.Now()
	err := s.Compact(ctx)
	m.Compact = time.Since(start).Seconds()
	return err
}

// batch makes a chunk of records from number n on.
func (f fill) batch(batch valuestore.Records, n uint64) valuestore.Records {
	value := make([]byte, f.value)
	for end := min(n+chunkHashes, f.records); n < end; n++ {
		key := indexKey(n)
		if f.isHot(n) {
			key = indexKey(hotKey)
		}
		fillValue(value, n)
		batch = batch.Append(key, value)
	}
	return batch
}

// isHot tells whether record n is one of the key with many values.
func (f fill) isHot(n uint64) bool {
	if f.hot == 0 {
		return false
	}
	every := max(f.records/f.hot, 1)
	return n%every == 0 && n/every < f.hot
}

// hits finds records, all of them twice, so that the second time they are in the page cache.
func (f fill) hits(ctx context.Context, s valuestore.Store, m *filled) error {
	want, got := make([]byte, f.value), make([]byte, 0, f.value)
	times := make([]float64, 0, f.lookups)
	for range 2 {
		times = times[:0]
		for i := range uint64(f.lookups) {
			n := mix(i+1) % f.records
			if f.isHot(n) {
				continue
			}
			key := indexKey(n)
			start := time.Now()
			for v, err := range s.Values(ctx, key) {
				if err != nil {
					return err
				}
				got = append(got[:0], v.Bytes...)
			}
			times = append(times, micros(start))
			if fillValue(want, n); !bytes.Equal(got, want) {
				return fmt.Errorf("record %d: %x, want %x", n, got, want)
			}
		}
	}
	m.Hit, m.HitP99 = middle(times)
	return nil
}

// misses looks for what is not there.
func (f fill) misses(ctx context.Context, s valuestore.Store, m *filled) error {
	times := make([]float64, f.lookups)
	for i := range times {
		key := indexKey(absent + uint64(i))
		start := time.Now()
		for _, err := range s.Values(ctx, key) {
			return errors.Join(err, errors.New("found what is not there")) // short keys are long enough for that
		}
		times[i] = micros(start)
	}
	m.Miss, m.MissP99 = middle(times)
	return nil
}

// many asks for the key with many values.
func (f fill) many(ctx context.Context, s valuestore.Store, m *filled) error {
	if f.hot == 0 {
		return nil
	}
	var first, all []float64
	for range 21 {
		start, n := time.Now(), uint64(0)
		for _, err := range s.Values(ctx, indexKey(hotKey)) {
			if err != nil {
				return err
			}
			if n++; n == 1 {
				first = append(first, micros(start)/1000)
			}
		}
		all = append(all, micros(start)/1000)
		if n != f.hot {
			return fmt.Errorf("%d values of a key, want %d", n, f.hot)
		}
	}
	m.First, m.All = median(first), median(all)
	return nil
}

func micros(since time.Time) float64 { return float64(time.Since(since).Nanoseconds()) / 1000 }

// middle returns the median and the 99th percentile.
func middle(times []float64) (m, p99 float64) {
	slices.Sort(times)
	return median(times), times[len(times)*99/100]
}

// runFill runs it as a process of its own.
func (b *bench) runFill(ctx context.Context, f fill, env ...string) (m filled, err error) {
	done, err := runWith(ctx, env, b.self, f.args()...)
	if err != nil {
		return m, err
	}
	if err := decodeJSON(done.stdout, &m); err != nil {
		return m, err
	}
	b.logf("    %d records: %.1f s and %.1f s to merge them all, of which %.1f s of one core made them; peak %d MiB; %d bytes on disk",
		f.records, m.Write, m.Compact, m.Generate, m.Peak/mib, m.Bytes)
	return m, nil
}

// indexValues measures the store of values in process.
func indexValues(ctx context.Context, b *bench) error {
	n := b.scale.index
	dir, err := b.room(int64(n)*400 + 2*gib)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	sealed := fill{dir: filepath.Join(dir, "sealed"), records: n, keyBytes: dhash.KeySize, value: sealedValue, lookups: b.scale.lookups, hot: min(hotValues, n/10)}
	m, err := b.runFill(ctx, sealed)
	if err != nil {
		return err
	}
	os.RemoveAll(sealed.dir)
	b.record("ipni-write", sysHashstream, sample{Value: float64(n) / (m.Write + m.Compact)})
	b.record("ipni-size", sysHashstream, sample{Value: float64(m.Bytes) / float64(n)})
	b.record("ipni-hit", sysHashstream, sample{Value: m.Hit})
	b.record("ipni-miss", sysHashstream, sample{Value: m.Miss})
	b.record("ipni-first", sysHashstream, sample{Value: m.First})
	b.note("Provider index in process: %.0f records/s until all were acknowledged, the rest of the time is the last merges; making the records took %.1f s of one core; "+
		"p99 of a hit %.1f µs, of a miss %.1f µs; all %d values of a key in %.1f ms; %d MiB resident at most.",
		float64(n)/m.Write, m.Generate, m.HitP99, m.MissP99, sealed.hot, m.All, m.Peak/mib)
	inRows := fill{dir: filepath.Join(dir, "rows"), records: n / 4, keyBytes: dhash.KeySize, value: sealedValue, lookups: b.scale.lookups, pebble: true}
	if m, err = b.runFill(ctx, inRows); err != nil {
		return err
	}
	os.RemoveAll(inRows.dir)
	b.record("ipni-write", sysRows, sample{Value: float64(inRows.records) / (m.Write + m.Compact)})
	b.record("ipni-size", sysRows, sample{Value: float64(m.Bytes) / float64(inRows.records)})
	b.note("A row of pebble for each value, without looking up anything, with a quarter of the records: %.0f records/s until all were acknowledged; a hit %.1f µs, a miss %.1f µs.",
		float64(inRows.records)/m.Write, m.Hit, m.Miss)
	compact := fill{dir: filepath.Join(dir, "compact"), records: n, keyBytes: 8, value: compactValue, lookups: b.scale.lookups}
	if m, err = b.runFill(ctx, compact); err != nil {
		return err
	}
	b.record("ipni-compact-size", sysHashstream, sample{Value: float64(m.Bytes) / float64(n)})
	b.note("Provider index in process, compact records: %.0f a second, merges included; hit %.1f µs, miss %.1f µs.", float64(n)/(m.Write+m.Compact), m.Hit, m.Miss)
	return nil
}
