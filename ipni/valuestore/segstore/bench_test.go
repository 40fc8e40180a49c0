package segstore

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// benchRecords is how many records the benchmarks write. The rates that docs/benchmarks.md speaks of are
// those of 20 million and more: with fewer, nothing is merged.
var benchRecords = flag.Int("records", 1<<20, "records of a benchmark")

// uniformKey returns the i-th of a sequence of keys that look like hashes and cost less.
func uniformKey(i int) (k dhash.Key) {
	x := uint64(i) * 4
	for j := range 4 {
		x += 0x9e3779b97f4a7c15
		z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.BigEndian.PutUint64(k[8*j:], z^z>>31)
	}
	return k
}

const benchBatch = 4096

// benchFill writes n records with values of size bytes, from four goroutines, in batches.
func benchFill(b *testing.B, s *Store, n, size int) {
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 4 {
		wg.Go(func() {
			var records valuestore.Records
			value := make([]byte, size)
			for i := int(next.Add(1)) - 1; i*benchBatch < n; i = int(next.Add(1)) - 1 {
				records = records[:0]
				for j := i * benchBatch; j < min((i+1)*benchBatch, n); j++ {
					k := uniformKey(j)
					for at := 0; at < len(value); at += len(k) {
						copy(value[at:], k[:])
					}
					records = records.Append(k, value)
				}
				if err := s.Put(b.Context(), valuestore.Tag(i/4+1), records); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkPut writes records, durably, and merges all of them: the rate is that until the end of the
// last merge.
func BenchmarkPut(b *testing.B) {
	for _, c := range []struct{ size, keyBytes int }{{102, 32}, {34, 8}} {
		b.Run(fmt.Sprintf("value=%d,key=%d", c.size, c.keyBytes), func(b *testing.B) {
			n := *benchRecords
			for b.Loop() {
				dir := b.TempDir()
				s := openStore(b, dir, &Options{KeyBytes: c.keyBytes})
				start := time.Now()
				benchFill(b, s, n, c.size)
				acked := time.Since(start)
				if err := s.Compact(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(n)/acked.Seconds(), "acked/s")
				b.ReportMetric(float64(n)/time.Since(start).Seconds(), "records/s")
				b.ReportMetric(float64(s.Stats().Bytes)/float64(n), "bytes/record")
				if err := errors.Join(s.Close(), os.RemoveAll(dir)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(peak(), "MiB-peak")
		})
	}
}

// peak returns the most memory that the process had, in MiB, 0 where that is not known.
func peak() float64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0
	}
	return kib / 1024
}

// benchStore returns a store with records, merged or as writing left it.
func benchStore(b *testing.B, compact bool) *Store {
	s := openStore(b, b.TempDir(), nil)
	b.Cleanup(func() { s.Close() })
	benchFill(b, s, *benchRecords, 102)
	if compact {
		if err := s.Compact(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	return s
}

func BenchmarkGet(b *testing.B) {
	for _, state := range []string{"compact", "as-written"} {
		s := benchStore(b, state == "compact")
		for _, outcome := range []string{"Hit", "Miss"} {
			b.Run(outcome+"/"+state, func(b *testing.B) {
				want, first := 1, 0
				if outcome == "Miss" {
					want, first = 0, 1<<40
				}
				// A working set that fits into the cache of pages; the first round warms it.
				get := func(i int) {
					n := 0
					for _, err := range s.Values(b.Context(), uniformKey(first+i*7919%*benchRecords)) {
						if err != nil {
							b.Fatal(err)
						}
						n++
					}
					if n != want {
						b.Fatalf("%d values", n)
					}
				}
				for i := range 20_000 {
					get(i)
				}
				i := 0
				for b.Loop() {
					get(i % 20_000)
					i++
				}
			})
		}
	}
}

// BenchmarkHotKey reads a key with 14,000 values: the first of them, and all.
func BenchmarkHotKey(b *testing.B) {
	const n = 14_000
	s := openStore(b, b.TempDir(), nil)
	b.Cleanup(func() { s.Close() })
	k := uniformKey(-1)
	var records valuestore.Records
	for i := range n {
		v := uniformKey(i)
		records = records.Append(k, append(v[:], make([]byte, 70)...))
	}
	if err := s.Put(b.Context(), 1, records); err != nil {
		b.Fatal(err)
	}
	read := func(b *testing.B, most int) {
		got := 0
		for _, err := range s.Values(b.Context(), k) {
			if err != nil {
				b.Fatal(err)
			}
			if got++; got == most {
				break
			}
		}
		if got != most {
			b.Fatalf("%d values", got)
		}
	}
	for _, where := range []string{"memory", "segment"} {
		for _, most := range []int{1, n} {
			b.Run(fmt.Sprintf("%s/values=%d", where, most), func(b *testing.B) {
				for b.Loop() {
					read(b, most)
				}
			})
		}
		if err := s.Compact(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
