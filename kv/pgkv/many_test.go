package pgkv_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/pgkv"
)

// Nodes share a key that is absent at first.
func TestUpdateManyNodes(t *testing.T) {
	address := own(t)
	var wg sync.WaitGroup
	const nodes, workers, rounds = 4, 4, 25
	for range nodes {
		s := open(t, address, nil)
		for range workers {
			wg.Go(func() {
				for range rounds {
					if err := s.Update(t.Context(), []byte("count"), increment); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	v, err := open(t, address, nil).Get(t.Context(), []byte("count"))
	if err != nil || binary.BigEndian.Uint64(v) != nodes*workers*rounds {
		t.Errorf("%d updates count %x, %v", nodes*workers*rounds, v, err)
	}
}

// Batches of two nodes put and delete the same keys in any order. None is repeated, so
// none met another in a deadlock.
func TestBatchManyNodes(t *testing.T) {
	address := own(t)
	var wg sync.WaitGroup
	for n := range 2 {
		s := open(t, address, &pgkv.Options{RetryFor: -1})
		for w := range 4 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(n), uint64(w)))
				for range 30 {
					var ops []kv.Op
					for _, k := range rnd.Perm(200) {
						ops = append(ops, kv.Put([]byte{'k', byte(k)}, []byte{byte(n), byte(w)}))
						if rnd.IntN(3) == 0 {
							ops[len(ops)-1] = kv.Delete([]byte{'k', byte(k)})
						}
					}
					if err := s.Batch(t.Context(), append(ops, kv.DeleteRange(kv.Prefix([]byte{'k', 7})))); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	s := open(t, address, nil)
	var writer []byte
	for p, err := range s.Scan(t.Context(), kv.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		if writer == nil {
			writer = p.Value
		}
		if !bytes.Equal(writer, p.Value) {
			t.Fatalf("%x is of %v and not of %v: two batches are mixed", p.Key, p.Value, writer)
		}
	}
}

// Long scans leave connections to others, and give theirs back when they are abandoned.
func TestLongScans(t *testing.T) {
	s := open(t, own(t), &pgkv.Options{Conns: 3})
	if err := s.Batch(t.Context(), records(0, 3000)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for range 5 {
				n := 0
				for p, err := range s.Scan(t.Context(), kv.Range{}) {
					if err != nil {
						t.Error(err)
					}
					if n++; n%500 == 0 {
						if v, err := s.Get(t.Context(), p.Key); err != nil || !bytes.Equal(v, p.Value) {
							t.Errorf("Get within a scan: %x, %v, want %x", v, err, p.Value)
						}
					}
					clear(p.Key) // it is ours
					if n == 1500 {
						break
					}
				}
				if n != 1500 {
					t.Errorf("the scan yields %d pairs", n)
				}
			}
		})
	}
	wg.Wait()
	if n := count(t, s, kv.Range{}); n != 3000 {
		t.Errorf("the scan yields %d of 3000 pairs", n)
	}
}

// All pages of a long scan are of one moment.
func TestLongSnapshot(t *testing.T) {
	s := open(t, own(t), nil)
	if err := s.Batch(t.Context(), records(0, 3000)); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range s.Scan(t.Context(), kv.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			if err := s.Batch(t.Context(), append(records(3000, 500), kv.DeleteRange(kv.Range{From: records(0, 1)[0].Key, To: []byte{0xff}}))); err != nil {
				t.Fatal(err)
			}
		}
		n++
	}
	if n != 3000 {
		t.Errorf("the scan yields %d pairs, there were 3000 when it began", n)
	}
}

// Large values make short pages.
func TestLargeValues(t *testing.T) {
	s := open(t, own(t), nil)
	var ops []kv.Op
	for i := range 40 {
		ops = append(ops, kv.Put([]byte{byte(i)}, bytes.Repeat([]byte{byte(i)}, 300_000*(i%3))))
	}
	if err := s.Batch(t.Context(), ops); err != nil {
		t.Fatal(err)
	}
	n := 0
	for p, err := range s.Scan(t.Context(), kv.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.Key, ops[n].Key) || !bytes.Equal(p.Value, ops[n].Value) {
			t.Fatalf("pair %d is %x with %d bytes", n, p.Key, len(p.Value))
		}
		n++
	}
	if n != len(ops) {
		t.Errorf("%d pairs, want %d", n, len(ops))
	}
}
