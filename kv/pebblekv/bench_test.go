package pebblekv_test

import (
	"crypto/sha512"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/pebblekv"
)

var records = flag.Int("records", 10_000_000, "records of BenchmarkFind10M")

// record is what an index stores for one block: a prefix, a multihash and a short
// hash as the key, and 17 bytes that say where it is.
func record(i int) (key, value []byte) {
	h := sha512.Sum512(binary.BigEndian.AppendUint64(nil, uint64(i)))
	key = append([]byte{'r', 0x12, 0x20}, h[:40]...) // 32 bytes of digest, 8 of the value's hash
	value = binary.BigEndian.AppendUint32([]byte{1}, uint32(i/512))
	value = binary.BigEndian.AppendUint64(value, uint64(i%512)<<18)
	return key, binary.BigEndian.AppendUint32(value, 1<<18)
}

func rss(b *testing.B) float64 {
	s, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	var kib float64
	_, after, _ := strings.Cut(string(s), "VmRSS:")
	fmt.Sscan(after, &kib)
	return kib / 1024
}

// BenchmarkFind10M fills a store and finds random records in it while others are
// written. Run it with -benchtime=1x; -short takes 200,000 records.
func BenchmarkFind10M(b *testing.B) {
	n := *records
	if testing.Short() {
		n = min(n, 200_000)
	}
	s := open(b, b.TempDir(), nil)
	start := time.Now()
	load(b, s, n)
	rate, loadRSS := float64(n)/time.Since(start).Seconds(), rss(b)
	if err := s.Compact(b.Context()); err != nil {
		b.Fatal(err)
	}
	size, err := s.Size(b.Context(), kv.Range{})
	if err != nil {
		b.Fatal(err)
	}

	var stop atomic.Bool
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := n; !stop.Load(); i += 1000 {
			loadRange(b, s, i, i+1000)
			time.Sleep(20 * time.Millisecond)
		}
	})
	for b.Loop() {
		measure(b, s, n, "get", find)
		measure(b, s, n, "scan", findByScan)
		measure(b, s, -n, "absent", find)
	}
	stop.Store(true)
	writer.Wait()
	b.ReportMetric(rate, "loads/s")
	b.ReportMetric(float64(size)/float64(n), "bytes/record")
	b.ReportMetric(loadRSS, "load-RSS-MiB")
	b.ReportMetric(rss(b), "find-RSS-MiB")
}

func load(b *testing.B, s *pebblekv.Store, n int) {
	for i := 0; i < n; i += 20_000 {
		loadRange(b, s, i, min(n, i+20_000))
	}
}

func loadRange(b *testing.B, s *pebblekv.Store, from, to int) {
	ops := make([]kv.Op, 0, to-from)
	for i := from; i < to; i++ {
		k, v := record(i)
		ops = append(ops, kv.Put(k, v))
	}
	if err := s.Batch(b.Context(), ops); err != nil {
		b.Error(err)
	}
}

func find(b *testing.B, s *pebblekv.Store, key []byte) bool {
	_, err := s.Get(b.Context(), key)
	return err == nil
}

func findByScan(b *testing.B, s *pebblekv.Store, key []byte) bool {
	n := 0
	for _, err := range s.Scan(b.Context(), kv.Prefix(key[:len(key)-8])) {
		if err != nil {
			b.Error(err)
		}
		n++
	}
	return n == 1
}

// measure finds records of two goroutines at once; a negative n means absent ones.
func measure(b *testing.B, s *pebblekv.Store, n int, name string, find func(*testing.B, *pebblekv.Store, []byte) bool) {
	const each = 50_000
	took := make([]time.Duration, 2*each)
	var wg sync.WaitGroup
	for part := range slices.Chunk(took, each) {
		wg.Go(func() {
			for i := range part {
				j := rand.IntN(max(n, -n))
				if n < 0 {
					j += 1 << 40
				}
				key, _ := record(j)
				start := time.Now()
				if find(b, s, key) != (n > 0) {
					b.Errorf("record %d: wrong answer", j)
				}
				part[i] = time.Since(start)
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	for q, at := range map[string]int{"p50": len(took) / 2, "p99": len(took) * 99 / 100, "p999": len(took) * 999 / 1000} {
		b.ReportMetric(float64(took[at].Nanoseconds())/1000, name+"-"+q+"-µs")
	}
}
