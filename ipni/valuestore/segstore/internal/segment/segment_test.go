package segment

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

func key(n int) (k dhash.Key) {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func record(k dhash.Key, value string, tag valuestore.Tag) Record {
	return Record{Key: k, Head: HeadOf(&k), Value: []byte(value), Tag: tag}
}

// several returns sorted records: most keys have one value, every hundredth many.
func several(n int, seed uint64) []Record {
	rng := rand.New(rand.NewPCG(seed, 0))
	var all []Record
	for len(all) < n {
		k, values := key(rng.IntN(1<<40)), 1
		if rng.IntN(100) == 0 {
			values = rng.IntN(200)
		}
		for range values {
			value := make([]byte, rng.IntN(150))
			for i := range value {
				value[i] = byte(rng.Uint32())
			}
			r := record(k, string(value), valuestore.Tag(rng.IntN(50)))
			r.Gone = rng.IntN(20) == 0
			all = append(all, r)
		}
	}
	return sorted(all)
}

func sorted(all []Record) []Record {
	slices.SortFunc(all, func(a, b Record) int { return a.Compare(&b) })
	return slices.CompactFunc(all, func(a, b Record) bool { return a.Compare(&b) == 0 })
}

func write(t testing.TB, keyBytes int, all []Record) *Segment {
	t.Helper()
	w, err := Create(filepath.Join(t.TempDir(), "x.seg"), keyBytes, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if err := w.Add(&all[i]); err != nil {
			t.Fatal(err)
		}
	}
	s, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func reopen(t testing.TB, s *Segment) *Segment {
	t.Helper()
	o, err := Open(s.name, s.keyBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

func same(a, b []Record) bool {
	return slices.EqualFunc(a, b, func(a, b Record) bool { return a.Compare(&b) == 0 && a.Gone == b.Gone })
}

func drain(t testing.TB, c *Cursor) []Record {
	t.Helper()
	var all []Record
	for c.Next() {
		r := *c.Record()
		r.Value = append([]byte{}, r.Value...)
		all = append(all, r)
	}
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	return all
}

func everything(t testing.TB, s *Segment, direct bool) []Record {
	t.Helper()
	r := valuestore.Everything()
	c, err := s.Scan(r.From, r.To, direct)
	if err != nil {
		t.Fatal(err)
	}
	return drain(t, c)
}

func TestSegment(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 100, 5_000, 200_000} {
		all := several(n, uint64(n))
		if n == 0 {
			all = nil
		}
		written := write(t, 32, all)
		for _, s := range []*Segment{written, reopen(t, written)} {
			for _, direct := range []bool{false, true} {
				if got := everything(t, s, direct); !same(got, all) {
					t.Fatalf("%d records: scan differs, %d records", len(all), len(got))
				}
			}
			tags := map[valuestore.Tag]uint64{}
			for _, r := range all {
				tags[r.Tag]++
			}
			got := map[valuestore.Tag]uint64{}
			for c, err := range s.Tags() {
				if err != nil {
					t.Fatal(err)
				}
				got[c.Tag] = c.Count
			}
			if s.Sample() != 1 {
				t.Errorf("a sample of one in %d", s.Sample())
			}
			if diff := cmp.Diff(tags, got); diff != "" {
				t.Error(diff)
			}
		}
		if reopen(t, written).Memory() != written.Memory() {
			t.Error("memory differs")
		}
	}
}

func TestFind(t *testing.T) {
	all := several(50_000, 7)
	s := reopen(t, write(t, 32, all))
	byKey := map[dhash.Key][]Record{}
	for _, r := range all {
		byKey[r.Key] = append(byKey[r.Key], r)
	}
	for k, want := range byKey {
		c := s.Find(&k, HeadOf(&k))
		if c == nil {
			t.Fatalf("%x is not found", k)
		}
		if got := drain(t, c); !same(got, want) {
			t.Fatalf("%x: %d records, want %d", k, len(got), len(want))
		}
	}
	through := 0
	for i := range 100_000 {
		k := key(-1 - i)
		if c := s.Find(&k, HeadOf(&k)); c != nil {
			through++
			if got := drain(t, c); len(got) > 0 {
				t.Fatalf("found %v", got)
			}
		}
	}
	if through > 1000 {
		t.Errorf("the filter lets %d of 100,000 through", through)
	}
}

// TestScanRange reads parts of a segment, with bounds on keys that are there and
// others.
func TestScanRange(t *testing.T) {
	all := several(20_000, 9)
	s := write(t, 32, all)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		from, to := key(rng.Int()), key(rng.Int())
		if rng.IntN(2) == 0 {
			from = all[rng.IntN(len(all))].Key
		}
		if rng.IntN(2) == 0 {
			to = all[rng.IntN(len(all))].Key
		}
		var want []Record
		for _, r := range all {
			if (valuestore.Range{From: from, To: to}).Contains(r.Key) {
				want = append(want, r)
			}
		}
		c, err := s.Scan(from, to, rng.IntN(2) == 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := drain(t, c); !same(got, want) {
			t.Fatalf("%x to %x: %d records, want %d", from, to, len(got), len(want))
		}
	}
}

// TestOddKeys has keys that are no hashes: all the same at the beginning, or far apart.
func TestOddKeys(t *testing.T) {
	var all []Record
	for i := range 3000 {
		var a, b, c dhash.Key
		binary.BigEndian.PutUint64(a[24:], uint64(i))
		binary.BigEndian.PutUint64(b[:], uint64(1)<<(i%64))
		binary.BigEndian.PutUint64(b[8:], uint64(i))
		for j := range c {
			c[j] = 0xff
		}
		for j, k := range []dhash.Key{a, b, c} {
			all = append(all, record(k, string(rune('a'+j))+string(binary.BigEndian.AppendUint32(nil, uint32(i))), 1))
		}
	}
	all = sorted(all)
	s := write(t, 32, all)
	if got := everything(t, s, false); !same(got, all) {
		t.Fatal("scan differs")
	}
	for _, r := range all {
		c := s.Find(&r.Key, r.Head)
		if c == nil || len(drain(t, c)) == 0 {
			t.Fatalf("%x is not found", r.Key)
		}
	}
}

func TestShortKeys(t *testing.T) {
	all := several(10_000, 3)
	for i := range all {
		clear(all[i].Key[8:])
	}
	all = sorted(all)
	s := write(t, 8, all)
	if got := everything(t, s, false); !same(got, all) {
		t.Fatal("scan differs")
	}
	if _, err := Open(s.name, 32); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("opened with keys of 32 bytes: %v", err)
	}
}

func TestMerge(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for n := range 12 {
		var sources []Source
		want := map[string]Record{}
		for i := range n {
			all := several(rng.IntN(500), uint64(rng.IntN(4))) // sources have much in common
			for j := range all {
				all[j].Gone = rng.IntN(3) == 0
			}
			s := write(t, 32, all)
			r := valuestore.Everything()
			c, err := s.Scan(r.From, r.To, i%2 == 0)
			if err != nil {
				t.Fatal(err)
			}
			sources = append(sources, c)
			for _, r := range all {
				id := string(r.Key[:]) + string(r.Value) + string(rune(r.Tag))
				if _, ok := want[id]; !ok {
					want[id] = r
				}
			}
		}
		m := NewMerge(sources)
		var last Record
		for r := m.Next(); r != nil; r = m.Next() {
			id := string(r.Key[:]) + string(r.Value) + string(rune(r.Tag))
			if w, ok := want[id]; !ok || w.Gone != r.Gone {
				t.Fatalf("%d sources: wrong record %v", n, ok)
			}
			delete(want, id)
			if last.Compare(r) > 0 {
				t.Fatal("out of order")
			}
			last = *r
			last.Value = slices.Clone(r.Value)
		}
		if m.Err() != nil || len(want) > 0 {
			t.Fatalf("%d sources: %d records are missing, %v", n, len(want), m.Err())
		}
	}
}

// TestSample writes more tags than a segment lists: it lists a sample of them, which says about how many records have
// removed ones.
func TestSample(t *testing.T) {
	w, err := Create(filepath.Join(t.TempDir(), "x.seg"), 32, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.most = 2000
	all := make([]Record, 50_000)
	for i := range all {
		all[i] = record(key(i), "value", valuestore.Tag(1+i/2))
	}
	for _, r := range sorted(all) {
		if err := w.Add(&r); err != nil {
			t.Fatal(err)
		}
	}
	s, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, s := range []*Segment{s, reopen(t, s)} {
		tags, removed := 0, uint64(0)
		for c, err := range s.Tags() {
			if err != nil || c.Count != 2 {
				t.Fatal(c, err)
			}
			if tags++; c.Tag <= 5000 {
				removed += c.Count
			}
		}
		if s.Sample() != 16 || tags > 2000 || tags < 1000 {
			t.Errorf("one in %d of the tags, %d", s.Sample(), tags)
		}
		if got := removed * s.Sample(); got < 9000 || got > 11_000 {
			t.Errorf("%d records of 10,000 are counted", got)
		}
		if got := everything(t, s, false); len(got) != len(all) {
			t.Errorf("%d records", len(got))
		}
	}
}
