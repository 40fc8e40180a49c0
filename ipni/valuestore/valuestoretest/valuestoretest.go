// Package valuestoretest is the suite that every value store passes.
//
//	func TestStore(t *testing.T) {
//		valuestoretest.TestStore(t, func(t *testing.T, dir string) valuestore.Store {
//			s, err := mystore.Open(dir)
//			…
//			return s
//		}, nil)
//	}
//
// Third parties run it on their stores.
package valuestoretest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// Options say what a store is like.
type Options struct {
	KeyBytes int  // that the store keeps of a key; 0 is all
	Volatile bool // what was written is gone when the store is opened again
}

// Open opens the store in a directory: an empty one, or what was left there. It fails the test
// if it cannot. A store that is an io.Closer is closed before it is opened again, and at
// the end of the test.
type Open func(t *testing.T, dir string) valuestore.Store

// TestStore tests a store. If it has a method Compact(context.Context) error, that is called
// now and then.
func TestStore(t *testing.T, open Open, o *Options) {
	if o == nil {
		o = &Options{}
	}
	for _, c := range []struct {
		name string
		test func(h *harness)
	}{
		{"Empty", testEmpty},
		{"Values", testValues},
		{"Delete", testDelete},
		{"Remove", testRemove},
		{"Limits", testLimits},
		{"Malformed", testMalformed},
		{"Canceled", testCanceled},
		{"Aliasing", testAliasing},
		{"Break", testBreak},
		{"HotKey", testHotKey},
		{"Range", testRange},
		{"RangeSnapshot", testRangeSnapshot},
		{"Races", testRaces},
		{"LargePut", testLargePut},
		{"Model", testModel},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &harness{T: t, Options: *o, open: open, dir: t.TempDir()}
			h.reopen()
			t.Cleanup(h.close)
			c.test(h)
		})
	}
}

// harness is a store under test.
type harness struct {
	*testing.T
	Options
	valuestore.Store
	open Open
	dir  string
}

func (h *harness) close() {
	if c, ok := h.Store.(io.Closer); ok {
		if err := c.Close(); err != nil {
			h.Errorf("Close: %v", err)
		}
	}
}

// reopen opens the store again, if it is one that remembers.
func (h *harness) reopen() {
	h.Helper()
	if h.Store != nil {
		if h.Volatile {
			return
		}
		h.close()
	}
	h.Store = h.open(h.T, h.dir)
}

func (h *harness) compact() {
	h.Helper()
	if c, ok := h.Store.(interface{ Compact(context.Context) error }); ok {
		if err := c.Compact(h.Context()); err != nil {
			h.Fatalf("Compact: %v", err)
		}
	}
}

// Key returns the n-th of a sequence of keys.
func Key(n int) dhash.Key {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

// stored returns k as the store yields it.
func (h *harness) stored(k dhash.Key) dhash.Key {
	if h.KeyBytes > 0 {
		clear(k[h.KeyBytes:])
	}
	return k
}

// record is a record as a test compares it.
type record struct {
	Key   dhash.Key
	Value string
	Tag   valuestore.Tag
}

func (r record) String() string { return fmt.Sprintf("%x…=%.20q/%d", r.Key[:4], r.Value, r.Tag) }

func (r record) encode() valuestore.Records {
	return valuestore.Records(nil).Append(r.Key, []byte(r.Value))
}

func (h *harness) put(records ...record) {
	h.Helper()
	h.each(h.Put, records)
}

func (h *harness) delete(records ...record) {
	h.Helper()
	h.each(h.Store.Delete, records)
}

// each calls do with runs of records of one tag.
func (h *harness) each(do func(context.Context, valuestore.Tag, valuestore.Records) error, records []record) {
	h.Helper()
	for len(records) > 0 {
		n := 0
		var run valuestore.Records
		for n < len(records) && records[n].Tag == records[0].Tag {
			run = append(run, records[n].encode()...)
			n++
		}
		if err := do(h.Context(), records[0].Tag, run); err != nil {
			h.Fatal(err)
		}
		records = records[n:]
	}
}

func (h *harness) remove(tags ...valuestore.Tag) {
	h.Helper()
	if err := h.Remove(h.Context(), tags...); err != nil {
		h.Fatalf("Remove: %v", err)
	}
}

// values returns what the store has of a key.
func (h *harness) values(k dhash.Key) (got []record) {
	h.Helper()
	for v, err := range h.Values(h.Context(), k) {
		if err != nil {
			h.Fatalf("Values: %v", err)
		}
		got = append(got, record{k, string(v.Bytes), v.Tag})
	}
	return got
}

// all returns what the store has of a range.
func (h *harness) all(r valuestore.Range) (got []record) {
	h.Helper()
	for rec, err := range h.Range(h.Context(), r) {
		if err != nil {
			h.Fatalf("Range: %v", err)
		}
		got = append(got, record{rec.Key, string(rec.Bytes), rec.Tag})
	}
	return got
}

// want checks the values of a key, before and after the store is opened again or compacted.
func (h *harness) want(k dhash.Key, want ...record) {
	h.Helper()
	for _, again := range []func(){func() {}, h.reopen, h.compact} {
		again()
		if diff := cmp.Diff(want, h.values(k)); diff != "" {
			h.Fatalf("values (-want +got):\n%s", diff)
		}
	}
}

func testEmpty(h *harness) {
	h.want(Key(1))
	if got := h.all(valuestore.Everything()); got != nil {
		h.Errorf("an empty store has %v", got)
	}
	if err := h.Put(h.Context(), 1, nil); err != nil {
		h.Errorf("Put of nothing: %v", err)
	}
	if err := h.Remove(h.Context()); err != nil {
		h.Errorf("Remove of nothing: %v", err)
	}
	h.delete(record{Key(1), "x", 1})
	h.want(Key(1))
}

func testValues(h *harness) {
	k := Key(1)
	h.put(record{k, "b", 1}, record{k, "a", 7}, record{k, "b", 1}, record{k, "ab", 2}, record{k, "a", 3}, record{Key(2), "z", 1}, record{k, "a", 0})
	h.want(k, record{k, "a", 0}, record{k, "a", 3}, record{k, "a", 7}, record{k, "ab", 2}, record{k, "b", 1})
	h.want(Key(2), record{Key(2), "z", 1})
	h.want(Key(3))
	h.put(record{k, "a", 3}) // is in another place by now
	h.want(k, record{k, "a", 0}, record{k, "a", 3}, record{k, "a", 7}, record{k, "ab", 2}, record{k, "b", 1})
}

func testDelete(h *harness) {
	k := Key(1)
	a1, a2, b1 := record{k, "a", 1}, record{k, "a", 2}, record{k, "b", 1}
	h.put(a1, a2, b1)
	h.delete(record{k, "a", 3}, record{k, "c", 1}, record{Key(2), "a", 1})
	h.want(k, a1, a2, b1)
	h.delete(a1)
	h.want(k, a2, b1)
	h.put(a1)
	h.want(k, a1, a2, b1)
	// Two records of one key in one call: both go.
	if err := h.Store.Delete(h.Context(), 1, append(a1.encode(), b1.encode()...)); err != nil {
		h.Fatal(err)
	}
	h.want(k, a2)
	h.delete(a2)
	h.want(k)
	h.put(a2)
	h.delete(a2)
	h.put(a2)
	h.want(k, a2)
}

func testRemove(h *harness) {
	k := Key(1)
	h.put(record{k, "a", 1}, record{k, "a", 2}, record{k, "b", 3}, record{Key(2), "a", 1}, record{k, "c", 0})
	h.remove(9)
	h.remove(1, 3)
	if diff := cmp.Diff([]record{{k, "a", 2}, {k, "c", 0}}, h.values(k)); diff != "" {
		h.Fatalf("right after (-want +got):\n%s", diff)
	}
	h.want(k, record{k, "a", 2}, record{k, "c", 0})
	h.want(Key(2))
	if got := h.all(valuestore.Everything()); len(got) != 2 {
		h.Errorf("the range has %v", got)
	}
	h.put(record{k, "b", 4})
	h.remove(4, 4)
	h.want(k, record{k, "a", 2}, record{k, "c", 0})
	h.put(record{k, "a", 5})
	h.want(k, record{k, "a", 2}, record{k, "a", 5}, record{k, "c", 0})
	if err := h.Remove(h.Context(), 0); err == nil {
		h.Error("tag 0 is removed")
	}
}

func testLimits(h *harness) {
	k := Key(1)
	long := string(bytes.Repeat([]byte{0xff}, valuestore.MaxValue))
	h.put(record{k, long, valuestore.MaxTag}, record{k, "", 1})
	h.want(k, record{k, "", 1}, record{k, long, valuestore.MaxTag})
	if err := h.Put(h.Context(), valuestore.MaxTag+1, record{k, "x", 0}.encode()); err == nil {
		h.Error("a tag that is too large is taken")
	}
	var low, high dhash.Key
	for i := range high {
		high[i] = 0xff
	}
	h.put(record{low, "low", 1}, record{high, "high", 1})
	h.want(low, record{low, "low", 1})
	h.want(high, record{high, "high", 1})
	if got := h.all(valuestore.Everything()); len(got) != 4 || got[0].Value != "low" || got[3].Value != "high" {
		h.Errorf("the range is %v", got)
	}
}

func testMalformed(h *harness) {
	good := record{Key(1), "a", 1}.encode()
	for _, bad := range []valuestore.Records{
		{1}, good[:len(good)-1], good[:32], append(bytes.Clone(good), 7),
		append(append(bytes.Clone(good[:32]), 0x81, 0x08), make([]byte, valuestore.MaxValue+1)...),
		append(bytes.Clone(good[:32]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
		append(bytes.Clone(good[:32]), 0x81, 0x00, 'a'), // not the shortest form
	} {
		if err := h.Put(h.Context(), 1, bad); !errors.Is(err, digest.ErrMismatch) {
			h.Errorf("Put of %x: %v", bad, err)
		}
		if err := h.Store.Delete(h.Context(), 1, bad); !errors.Is(err, digest.ErrMismatch) {
			h.Errorf("Delete of %x: %v", bad, err)
		}
	}
	h.want(Key(1)) // not the good part either
}

func testCanceled(h *harness) {
	h.put(record{Key(1), "a", 1})
	ctx, cancel := context.WithCancel(h.Context())
	cancel()
	if err := h.Put(ctx, 1, record{Key(2), "a", 1}.encode()); !errors.Is(err, context.Canceled) {
		h.Errorf("Put: %v", err)
	}
	if err := h.Store.Delete(ctx, 1, record{Key(1), "a", 1}.encode()); !errors.Is(err, context.Canceled) {
		h.Errorf("Delete: %v", err)
	}
	if err := h.Remove(ctx, 1); !errors.Is(err, context.Canceled) {
		h.Errorf("Remove: %v", err)
	}
	for _, err := range h.Values(ctx, Key(1)) {
		if !errors.Is(err, context.Canceled) {
			h.Errorf("Values: %v", err)
		}
	}
	for _, err := range h.Range(ctx, valuestore.Everything()) {
		if !errors.Is(err, context.Canceled) {
			h.Errorf("Range: %v", err)
		}
	}
	h.want(Key(1), record{Key(1), "a", 1})
}

func testAliasing(h *harness) {
	b := record{Key(1), "abc", 1}.encode()
	if err := h.Put(h.Context(), 1, b); err != nil {
		h.Fatal(err)
	}
	clear(b)
	h.want(Key(1), record{Key(1), "abc", 1})
}

func testBreak(h *harness) {
	for i := range 50 {
		h.put(record{Key(1), fmt.Sprintf("%02d", i), 1}, record{Key(2 + i), "x", 1})
	}
	for _, again := range []func(){func() {}, h.compact} {
		again()
		for v, err := range h.Values(h.Context(), Key(1)) {
			if err != nil || string(v.Bytes) != "00" {
				h.Fatal(v, err)
			}
			break
		}
		for _, err := range h.Range(h.Context(), valuestore.Everything()) {
			if err != nil {
				h.Fatal(err)
			}
			break
		}
	}
}
