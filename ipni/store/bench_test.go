package store

import (
	"context"
	"fmt"
	"testing"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv/memkv"
)

// nowhere takes everything, so that what the store itself does is measured.
type nowhere struct{ valuestore.Store }

func (nowhere) Put(context.Context, valuestore.Tag, valuestore.Records) error { return nil }

func benchModes(b *testing.B, f func(b *testing.B, o *Options)) {
	for _, compact := range []bool{false, true} {
		b.Run(fmt.Sprintf("compact=%v", compact), func(b *testing.B) { f(b, &Options{Compact: compact}) })
	}
}

func BenchmarkPut(b *testing.B) {
	benchModes(b, func(b *testing.B, o *Options) {
		s, err := Open(b.Context(), nowhere{}, memkv.New(), o)
		if err != nil {
			b.Fatal(err)
		}
		const n = 16384
		mhs := hashes(0, n)
		g := ipni.Group{Context: testContext(1, "012345678901234567890123456789012345"), Epoch: 1}
		b.ReportAllocs()
		for b.Loop() {
			if err := s.Put(b.Context(), g, mhs); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/multihash")
	})
}

func BenchmarkLookup(b *testing.B) {
	benchModes(b, func(b *testing.B, o *Options) {
		s, err := Open(b.Context(), newMemValues(o.Compact), memkv.New(), o)
		if err != nil {
			b.Fatal(err)
		}
		const n = 10000
		if err := s.Put(b.Context(), group(1, "a", 1), hashes(0, n)); err != nil {
			b.Fatal(err)
		}
		if err := s.PutMetadata(b.Context(), testContext(1, "a"), []byte{0x80, 0x12}); err != nil {
			b.Fatal(err)
		}
		count := func(b *testing.B, mh int) (got int) {
			for _, err := range s.Contexts(b.Context(), hash(mh)) {
				if err != nil {
					b.Fatal(err)
				}
				got++
			}
			return got
		}
		const many = 14000
		for i := range many {
			if err := s.Put(b.Context(), group(1, fmt.Sprint("context ", i), 1), hashes(2*n, 2*n+1)); err != nil {
				b.Fatal(err)
			}
		}
		b.Run("many", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got := count(b, 2*n); got != many {
					b.Fatal(got)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/many, "ns/context")
		})
		for name, from := range map[string]int{"hit": 0, "miss": n} {
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if (count(b, from+i%n) == 1) != (from == 0) {
						b.Fatal("wrong answer")
					}
				}
			})
		}
		b.Run("values", func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				for range s.ValueKeys(b.Context(), dhash.SecondHash(hash(i%n))) {
				}
			}
		})
		b.Run("metadata", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Metadata(b.Context(), testContext(1, "a")); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}
