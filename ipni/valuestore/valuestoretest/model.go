package valuestoretest

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

func compare(a, b record) int {
	return cmp.Or(bytes.Compare(a.Key[:], b.Key[:]), cmp.Compare(a.Value, b.Value), cmp.Compare(a.Tag, b.Tag))
}

// testHotKey gives one key as many values as popular content has providers.
func testHotKey(h *harness) {
	const n = 14_000
	k := Key(1)
	var records valuestore.Records
	var want []record
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range n {
		value := fmt.Appendf(nil, "%016x%d", rng.Uint64(), i)
		records = records.Append(k, value)
		want = append(want, record{k, string(value), 5})
	}
	slices.SortFunc(want, compare)
	if err := h.Put(h.Context(), 5, records); err != nil {
		h.Fatal(err)
	}
	for _, again := range []func(){func() {}, h.reopen, h.compact} {
		again()
		if got := h.values(k); !slices.Equal(got, want) {
			h.Fatalf("%d values, want %d in order", len(got), n)
		}
	}
	h.delete(want[n/2])
	if got := h.values(k); !slices.Equal(got, slices.Delete(want, n/2, n/2+1)) {
		h.Fatalf("%d values after one was deleted", len(got))
	}
}

func testRange(h *harness) {
	var want []record
	for i := range 500 {
		r := record{h.stored(Key(i % 400)), fmt.Sprint(i), valuestore.Tag(1 + i%3)}
		h.put(r)
		want = append(want, r)
		if i == 200 {
			h.compact()
		}
	}
	slices.SortFunc(want, compare)
	rng := rand.New(rand.NewPCG(2, 2))
	for i := range 200 {
		r := valuestore.Range{From: Key(rng.Int()), To: Key(rng.Int())}
		switch i % 4 {
		case 0:
			r = valuestore.Everything()
		case 1: // bounds that are there
			r.From, r.To = want[rng.IntN(len(want))].Key, want[rng.IntN(len(want))].Key
		case 2: // one first byte
			r.To = r.From
			clear(r.From[1:])
			copy(r.To[1:], bytes.Repeat([]byte{0xff}, len(r.To)))
		}
		var part []record
		for _, w := range want {
			if r.Contains(w.Key) {
				part = append(part, w)
			}
		}
		if diff := gocmp.Diff(part, h.all(r)); diff != "" {
			h.Fatalf("range (-want +got):\n%s", diff)
		}
	}
}

// testRangeSnapshot changes everything while a range is read.
func testRangeSnapshot(h *harness) {
	const n = 2000
	var before, after []record
	for i := range n {
		before = append(before, record{Key(i), "before", 1})
		after = append(after, record{Key(i), "after", 2})
	}
	h.put(before...)
	seen := 0
	for rec, err := range h.Range(h.Context(), valuestore.Everything()) {
		if err != nil {
			h.Fatal(err)
		}
		if string(rec.Bytes) != "before" {
			h.Fatalf("a range has what came later: %s", rec.Bytes)
		}
		if seen++; seen == 10 {
			h.put(after...)
			h.delete(before...)
			h.compact()
		}
	}
	if seen != n {
		h.Errorf("%d records, want %d", seen, n)
	}
	for _, r := range h.all(valuestore.Everything()) {
		if r.Value != "after" {
			h.Fatalf("%v is still there", r)
		}
	}
}

// testRaces has writers of one key that delete what they put, next to others. What others
// put must stay: a delete is no reading and writing back.
func testRaces(h *harness) {
	const writers, rounds = 8, 60
	k := Key(1)
	var wg sync.WaitGroup
	var want [writers][]record
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				stays := record{k, fmt.Sprintf("%d-%d", w, i), 1}
				goes := record{k, fmt.Sprintf("%d-%d-", w, i), 1}
				for _, f := range []func() error{
					func() error { return h.Put(h.Context(), 1, goes.encode()) },
					func() error { return h.Put(h.Context(), 1, stays.encode()) },
					func() error { return h.Store.Delete(h.Context(), 1, goes.encode()) },
					func() error { return h.Store.Delete(h.Context(), 1, stays.encode()) },
					func() error { return h.Put(h.Context(), 1, stays.encode()) },
				} {
					if err := f(); err != nil {
						h.Error(err)
						return
					}
				}
				want[w] = append(want[w], stays)
			}
		})
	}
	// A record that is put and deleted at once is there or not; put after that, it is.
	contended := record{Key(2), "x", 1}
	for range 4 {
		wg.Go(func() {
			for range rounds {
				if err := h.Store.Delete(h.Context(), 1, contended.encode()); err != nil {
					h.Error(err)
				}
				if err := h.Put(h.Context(), 1, contended.encode()); err != nil {
					h.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all := slices.SortedFunc(slices.Values(slices.Concat(want[:]...)), compare)
	h.want(k, all...)
	h.want(Key(2), contended) // every delete returned before a put of the same goroutine
}

// testLargePut puts more at once than a store may want to write at once.
func testLargePut(h *harness) {
	const n = 20_000
	var records valuestore.Records
	value := make([]byte, 700)
	for i := range n {
		binary.BigEndian.PutUint64(value, uint64(i))
		records = records.Append(Key(i), value)
	}
	if err := h.Put(h.Context(), 3, records); err != nil {
		h.Fatal(err)
	}
	h.reopen()
	for i := 0; i < n; i += 101 {
		binary.BigEndian.PutUint64(value, uint64(i))
		if got := h.values(Key(i)); len(got) != 1 || got[0].Value != string(value) {
			h.Fatalf("record %d: %v", i, got)
		}
	}
}

// testModel does the same to the store and to maps, with many writers, each of its own keys and
// tags, and readers who watch.
func testModel(h *harness) {
	const writers, phases = 4, 3
	models := make([]map[record]bool, writers)
	for w := range models {
		models[w] = map[record]bool{}
	}
	for phase := range phases {
		var wg, readers sync.WaitGroup
		var stop atomic.Bool
		readers.Go(func() {
			for !stop.Load() {
				var last record
				for rec, err := range h.Range(h.Context(), valuestore.Everything()) {
					r := record{rec.Key, string(rec.Bytes), rec.Tag}
					if err != nil || compare(last, r) > 0 {
						h.Errorf("range: %v after %v, %v", r, last, err)
						return
					}
					last = r
				}
			}
		})
		for w := range writers {
			wg.Go(func() { h.write(w, phase, models[w]) })
		}
		if phase%2 == 1 {
			h.compact()
		}
		wg.Wait()
		stop.Store(true)
		readers.Wait()
		h.matches(models, phase)
		h.reopen()
		h.matches(models, phase)
	}
}

// write does random things with the records of a writer.
func (h *harness) write(w, phase int, model map[record]bool) {
	rng := rand.New(rand.NewPCG(uint64(w), uint64(phase)))
	tag := func() valuestore.Tag { return valuestore.Tag(1 + w + 10*rng.IntN(8) + 100*phase) }
	pick := func() record {
		value := make([]byte, rng.IntN(3))
		for i := range value {
			value[i] = byte(rng.IntN(3))
		}
		value = append(value, bytes.Repeat([]byte{'v'}, rng.IntN(2)*300)...)
		return record{Key(w + 10*rng.IntN(150)), string(value), tag()}
	}
	for i := range 250 {
		do, change := h.Put, func(r record) { model[r] = true }
		t, n := tag(), 1+rng.IntN(30)
		switch rng.IntN(20) {
		case 0:
			t = valuestore.Tag(1_000_000*(w+1) + 1000*phase + i) // it is not used again
			r := pick()
			r.Tag = t
			if err := h.Put(h.Context(), t, r.encode()); err != nil {
				h.Error(err)
			}
			if err := h.Remove(h.Context(), t); err != nil {
				h.Error(err)
			}
			continue
		case 1, 2, 3, 4, 5, 6:
			do, change = h.Store.Delete, func(r record) { delete(model, r) }
		}
		var records valuestore.Records
		for range n {
			r := pick()
			r.Tag = t
			records = append(records, r.encode()...)
			change(r)
		}
		if err := do(h.Context(), t, records); err != nil {
			h.Error(err)
			return
		}
	}
	// A tag of the phase before goes as a whole.
	if old := valuestore.Tag(1 + w + 10*rng.IntN(8) + 100*(phase-1)); phase > 0 {
		if err := h.Remove(h.Context(), old); err != nil {
			h.Error(err)
		}
		maps.DeleteFunc(model, func(r record, _ bool) bool { return r.Tag == old })
	}
}

// matches compares the store with the models.
func (h *harness) matches(models []map[record]bool, phase int) {
	h.Helper()
	byKey := map[dhash.Key][]record{}
	var want []record
	for _, m := range models {
		for r := range m {
			byKey[r.Key] = append(byKey[r.Key], r)
			r.Key = h.stored(r.Key)
			want = append(want, r)
		}
	}
	slices.SortFunc(want, compare)
	if diff := firstDifference(want, h.all(valuestore.Everything())); diff != "" {
		h.Fatalf("phase %d, range: %s", phase, diff)
	}
	for k, want := range byKey {
		slices.SortFunc(want, compare)
		if diff := firstDifference(want, h.values(k)); diff != "" {
			h.Fatalf("phase %d, values: %s", phase, diff)
		}
	}
}

// firstDifference tells the first of many.
func firstDifference(want, got []record) string {
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(want):
			return fmt.Sprintf("%v is too much", got[i])
		case i >= len(got):
			return fmt.Sprintf("%v is missing", want[i])
		case want[i] != got[i]:
			return fmt.Sprintf("%v where %v should be, the number %d of %d, want %d", got[i], want[i], i, len(got), len(want))
		}
	}
	return ""
}
