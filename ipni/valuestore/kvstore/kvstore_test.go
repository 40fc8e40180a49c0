package kvstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/ipni/valuestore/valuestoretest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/kv/pebblekv"
)

func TestMemory(t *testing.T) {
	valuestoretest.TestStore(t, func(*testing.T, string) valuestore.Store { return kvstore.New(memkv.New()) },
		&valuestoretest.Options{Volatile: true})
}

// pebbleStore closes what it was opened with.
type pebbleStore struct {
	*kvstore.Store
	db *pebblekv.Store
}

func (s pebbleStore) Close() error { return s.db.Close() }

func TestPebble(t *testing.T) {
	valuestoretest.TestStore(t, func(t *testing.T, dir string) valuestore.Store {
		db, err := pebblekv.Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		return pebbleStore{kvstore.New(db), db}
	}, nil)
}

// FuzzRows reads rows of any form. What is read is what was put, in its order.
func FuzzRows(f *testing.F) {
	f.Add([]byte("v"), []byte("value"), uint64(1))
	f.Add(append([]byte("v"), make([]byte, 32+9+8)...), []byte{}, uint64(0))
	f.Add(append([]byte("v"), bytes.Repeat([]byte{9}, 32+18+8)...), make([]byte, 16), uint64(1)<<39)
	f.Fuzz(func(t *testing.T, row, value []byte, tag uint64) {
		db := memkv.New()
		s := kvstore.New(db)
		if kv.CheckKey(row) == nil && row[0] == 'v' {
			if err := db.Batch(t.Context(), []kv.Op{kv.Put(row, nil)}); err != nil {
				t.Fatal(err)
			}
			for r, err := range s.Range(t.Context(), valuestore.Everything()) {
				if err != nil {
					if !errors.Is(err, digest.ErrMismatch) {
						t.Fatal(err)
					}
					continue
				}
				// A row that is read is the one that would be written.
				if err := s.Delete(t.Context(), r.Tag, valuestore.Records(nil).Append(r.Key, r.Bytes)); err != nil {
					t.Fatal(err)
				}
				if _, err := db.Get(t.Context(), row); err == nil {
					t.Fatalf("row %x has a second form", row)
				}
			}
			if err := db.Batch(t.Context(), []kv.Op{kv.Delete(row)}); err != nil {
				t.Fatal(err)
			}
		}
		if len(value) > valuestore.MaxValue || tag > uint64(valuestore.MaxTag) {
			return
		}
		k := dhash.Key(bytes.Repeat([]byte{7}, 32))
		values := [][]byte{value, append(bytes.Clone(value), 0), value[:len(value)/2]}
		for _, v := range values {
			if len(v) <= valuestore.MaxValue {
				if err := s.Put(t.Context(), valuestore.Tag(tag), valuestore.Records(nil).Append(k, v)); err != nil {
					t.Fatal(err)
				}
			}
		}
		var last []byte
		n := 0
		for v, err := range s.Values(t.Context(), k) {
			if err != nil || n > 0 && bytes.Compare(last, v.Bytes) >= 0 || v.Tag != valuestore.Tag(tag) {
				t.Fatal(err, last, v)
			}
			last = v.Bytes
			n++
		}
		if n == 0 {
			t.Fatal("nothing is left")
		}
	})
}

func Example() {
	ctx := context.Background()
	s := kvstore.New(memkv.New())
	key := valuestoretest.Key(1)
	if err := s.Put(ctx, 7, valuestore.Records(nil).Append(key, []byte("somebody"))); err != nil {
		panic(err)
	}
	for v, err := range s.Values(ctx, key) {
		fmt.Println(string(v.Bytes), v.Tag, err)
	}
	// Output: somebody 7 <nil>
}
