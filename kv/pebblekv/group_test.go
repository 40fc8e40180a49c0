package pebblekv_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

// TestGroups scans keys about as long as a group in tables, in memory and behind
// deleted ranges, and compares with a store that knows no groups.
func TestGroups(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	key := func() []byte {
		k := bytes.Repeat([]byte{0xff}, 31+random.IntN(2))
		if random.IntN(8) > 0 {
			k[0] = 'b'
		}
		for range random.IntN(7) {
			k = append(k, "\x00\x01\xff"[random.IntN(3)])
		}
		return k
	}
	some := func() kv.Range {
		if random.IntN(2) == 0 {
			return kv.Prefix(key())
		}
		return kv.Range{From: key(), To: key()}
	}
	s, want := open(t, t.TempDir(), nil), memkv.New()
	found := 0
	for round := range 200 {
		var ops []kv.Op
		for range random.IntN(6) {
			switch k := key(); random.IntN(5) {
			case 0:
				ops = append(ops, kv.Delete(k))
			case 1:
				r := some()
				if r.To != nil && random.IntN(4) == 0 {
					ops = append(ops, kv.DeleteRange(r))
				}
			default:
				ops = append(ops, kv.Put(k, []byte{byte(round)}))
			}
		}
		must(t, s.Batch(t.Context(), ops))
		must(t, want.Batch(t.Context(), ops))
		switch random.IntN(12) {
		case 0:
			must(t, s.Flush(t.Context()))
		case 1:
			must(t, s.Compact(t.Context()))
		}
		for range 20 {
			r := some()
			got, expected := collect(t, s, r), collect(t, want, r)
			if diff := cmp.Diff(expected, got); diff != "" {
				t.Fatalf("round %d, %x to %x: %s", round, r.From, r.To, diff)
			}
			found += len(got)
		}
	}
	if found < 1000 {
		t.Errorf("the scans found %d pairs: too few to show anything", found)
	}
}

func collect(t *testing.T, s kv.Reader, r kv.Range) (pairs []kv.Pair) {
	for p, err := range s.Scan(t.Context(), r) {
		must(t, err)
		pairs = append(pairs, p)
	}
	return pairs
}
