package pgkv_test

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/pgkv"
)

// record is a pair as an index writes it: a key of 70 bytes, whose first 38 are a
// digest, and a value of 10.
func record(n uint64) kv.Op {
	d := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
	key := append(append(append(make([]byte, 0, 70), "block\x12"...), d[:]...), d[:]...)
	return kv.Put(key, d[:10])
}

func records(from, n uint64) (ops []kv.Op) {
	for i := range n {
		ops = append(ops, record(from+i))
	}
	return ops
}

// run calls f by 16 goroutines and reports the time within which 99 % of the calls return.
func run(b *testing.B, f func(n uint64)) {
	const workers = 16
	var next atomic.Uint64
	took := make([][]time.Duration, workers)
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range workers {
		wg.Go(func() {
			for n := next.Add(1); n <= uint64(b.N); n = next.Add(1) {
				began := time.Now()
				f(n)
				took[w] = append(took[w], time.Since(began))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

func BenchmarkStore(b *testing.B) {
	const stored = 200_000
	for _, mode := range []string{"cache_statement", "cache_describe"} {
		b.Run(mode, func(b *testing.B) {
			s := open(b, own(b, "default_query_exec_mode", mode), &pgkv.Options{Conns: 16})
			for n := uint64(0); n < stored; n += 10_000 {
				if err := s.Batch(b.Context(), records(n, 10_000)); err != nil {
					b.Fatal(err)
				}
			}
			b.Run("Get", func(b *testing.B) {
				run(b, func(n uint64) {
					if _, err := s.Get(b.Context(), record(n*7919%stored).Key); err != nil {
						b.Error(err)
					}
				})
			})
			b.Run("Scan", func(b *testing.B) {
				run(b, func(n uint64) {
					if n := count(b, s, kv.Prefix(record(n * 7919 % stored).Key[:38])); n != 1 {
						b.Errorf("%d pairs", n)
					}
				})
			})
			b.Run("ScanAll", func(b *testing.B) {
				n := 0
				for b.Loop() {
					n += count(b, s, kv.Range{})
				}
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
			})
			first := uint64(stored)
			for name, size := range map[string]uint64{"1": 1, "100": 100, "1000": 1000, "10000": 10_000} {
				b.Run("Batch"+name, func(b *testing.B) {
					from := atomic.Uint64{}
					from.Store(first)
					run(b, func(uint64) {
						if err := s.Batch(b.Context(), records(from.Add(size)-size, size)); err != nil {
							b.Error(err)
						}
					})
					first = from.Load()
					b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
				})
			}
		})
	}
}
