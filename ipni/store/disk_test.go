package store_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/find"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/kv/pebblekv"
)

// TestDisk puts, removes and opens again, over the stores that a node has.
func TestDisk(t *testing.T) {
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprintf("compact=%v", compact), func(t *testing.T) {
			dir, rows := t.TempDir(), memkv.New()
			a := ipni.Context{Provider: peer.ID("\x00\x24\x08\x01\x12\x20" + fmt.Sprintf("%032d", 1)), ID: "a"}
			b := ipni.Context{Provider: a.Provider, ID: "b"}
			for _, step := range []struct {
				do   func(s *store.Store) error
				want map[int]int // contexts of multihashes
			}{
				{func(s *store.Store) error {
					return s.Put(t.Context(), ipni.Group{Context: a, Epoch: 1}, chunk(0, 5000))
				}, map[int]int{0: 1, 4999: 1, 5000: 0}},
				{func(s *store.Store) error {
					return errors.Join(s.Put(t.Context(), ipni.Group{Context: b, Epoch: 1}, chunk(0, 10)),
						s.Put(t.Context(), ipni.Group{Context: a, Epoch: 2}, chunk(0, 20)))
				}, map[int]int{0: 2, 15: 1, 4999: 1}},
				{func(s *store.Store) error { return s.Remove(t.Context(), a, 2) }, map[int]int{0: 2, 15: 1, 4999: 0}},
				{func(s *store.Store) error { return s.RemoveProvider(t.Context(), ipni.TagProvider(a.Provider)) }, map[int]int{0: 0, 15: 0}},
			} {
				onDisk(t, dir, rows, compact, func(s *store.Store) {
					if err := step.do(s); err != nil {
						t.Fatal(err)
					}
				})
				onDisk(t, dir, rows, compact, func(s *store.Store) {
					for n, want := range step.want {
						got := 0
						for _, err := range s.Contexts(t.Context(), mhOf(n)) {
							if err != nil {
								t.Fatal(err)
							}
							got++
						}
						if got != want {
							t.Errorf("%d contexts of multihash %d, not %d", got, n, want)
						}
					}
				})
			}
		})
	}
}

// onDisk calls f with a store that is opened for it.
func onDisk(t *testing.T, dir string, rows *memkv.Store, compact bool, f func(s *store.Store)) {
	t.Helper()
	o := &segstore.Options{Memory: 64 << 20}
	if compact {
		o.KeyBytes = 8
	}
	values, err := segstore.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := values.Close(); err != nil {
			t.Error(err)
		}
	}()
	s, err := store.Open(t.Context(), values, rows, &store.Options{Compact: compact})
	if err != nil {
		t.Fatal(err)
	}
	f(s)
}

// BenchmarkDisk writes chunks of 16,384 multihashes, durable, and looks them up through a
// finder, over the stores that a node has.
func BenchmarkDisk(b *testing.B) {
	for _, compact := range []bool{false, true} {
		b.Run(fmt.Sprintf("compact=%v", compact), func(b *testing.B) { benchDisk(b, compact) })
	}
}

func benchDisk(b *testing.B, compact bool) {
	o := &segstore.Options{Memory: 64 << 20}
	if compact {
		o.KeyBytes = 8
	}
	values, err := segstore.Open(b.TempDir(), o)
	if err != nil {
		b.Fatal(err)
	}
	defer values.Close()
	rows, err := pebblekv.Open(b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	s, err := store.Open(b.Context(), values, rows, &store.Options{Compact: compact})
	if err != nil {
		b.Fatal(err)
	}
	c := ipni.Context{Provider: peer.ID("\x00\x24\x08\x01\x12\x20" + fmt.Sprintf("%032d", 1)), ID: fmt.Sprintf("%036d", 1)}
	reg := registry.New(rows)
	ops, err := reg.Apply(b.Context(), registry.Change{Provider: c.Provider})
	if err == nil {
		err = rows.Batch(b.Context(), ops)
	}
	if err == nil {
		err = s.PutMetadata(b.Context(), c, []byte{0x80, 0x12})
	}
	if err != nil {
		b.Fatal(err)
	}
	const n = 16384
	var chunks atomic.Int64
	b.Run("put", func(b *testing.B) {
		b.SetParallelism(2)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				i := int(chunks.Add(1)) - 1
				if err := s.Put(context.Background(), ipni.Group{Context: c, Epoch: 1}, chunk(i*n, n)); err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "multihashes/s")
	})
	f := find.New(s, registry.NewCache(reg, 1<<40), nil)
	total := int(chunks.Load()) * n
	for name, from := range map[string]int{"hit": 0, "miss": total} {
		want := 1
		if from > 0 {
			want = 0
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if got := count(b, f.Find(b.Context(), mhOf(from+i*7919%total))); got != want {
					b.Fatal(got)
				}
			}
		})
	}
}

func count(b *testing.B, results iter.Seq2[ipni.Result, error]) (n int) {
	for _, err := range results {
		if err != nil {
			b.Fatal(err)
		}
		n++
	}
	return n
}

// mhOf returns a multihash that is no hash, but as evenly spread as one is once it is hashed again.
func mhOf(n int) multihash.Multihash {
	mh := append(make(multihash.Multihash, 0, 34), multihash.SHA2_256, 32)
	mh = binary.BigEndian.AppendUint64(mh, uint64(n))
	return append(mh, make([]byte, 24)...)
}

func chunk(from, n int) ipni.Multihashes {
	m := make(ipni.Multihashes, 0, 34*n)
	for i := range n {
		m = append(m, mhOf(from+i)...)
	}
	return m
}
