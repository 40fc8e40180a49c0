// Package kvtest is the suite that every kv backend and decorator passes.
//
//	func TestStore(t *testing.T) {
//		kvtest.Run(t, func(t *testing.T) kv.Store { return mystore.New() })
//	}
//
// Third parties run it on their stores.
package kvtest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/kv"
)

// Run tests a store. Each call of open returns an empty store of its own, which
// open closes by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) kv.Store) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s kv.Store)
	}{
		{"Get", testGet},
		{"Model", testModel},
		{"Prefix", testPrefix},
		{"LongKeys", testLongKeys},
		{"BatchOrder", testBatchOrder},
		{"BatchInvalid", testBatchInvalid},
		{"BatchAtomic", testBatchAtomic},
		{"BatchLarge", testBatchLarge},
		{"DeleteRange", testDeleteRange},
		{"ScanSnapshot", testScanSnapshot},
		{"ScanNested", testScanNested},
		{"ScanBreak", testScanBreak},
		{"Canceled", testCanceled},
		{"Aliasing", testAliasing},
		{"Update", testUpdate},
		{"UpdateContention", testUpdateContention},
		{"UpdateAndBatch", testUpdateAndBatch},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func batch(t *testing.T, s kv.Store, ops ...kv.Op) {
	t.Helper()
	if err := s.Batch(t.Context(), ops); err != nil {
		t.Fatalf("Batch: %v", err)
	}
}

func put(key, value string) kv.Op { return kv.Put([]byte(key), []byte(value)) }

func puts(keys ...string) (ops []kv.Op) {
	for _, k := range keys {
		ops = append(ops, put(k, "v"+k))
	}
	return ops
}

// scan returns the pairs of r as strings: key, value, key, value…
func scan(t *testing.T, s kv.Reader, r kv.Range) []string {
	t.Helper()
	var got []string
	for p, err := range s.Scan(t.Context(), r) {
		if err != nil {
			t.Fatalf("Scan: %v", err)
		}
		got = append(got, string(p.Key), string(p.Value))
	}
	return got
}

func wantKeys(t *testing.T, s kv.Reader, r kv.Range, want ...string) {
	t.Helper()
	var got []string
	for i, k := range scan(t, s, r) {
		if i%2 == 0 {
			got = append(got, k)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("Scan(%q, %q) yields %q, want %q", r.From, r.To, got, want)
	}
}

func wantValue(t *testing.T, s kv.Reader, key, want string) {
	t.Helper()
	if v, err := s.Get(t.Context(), []byte(key)); err != nil || string(v) != want {
		t.Errorf("Get(%q) = %q, %v, want %q", key, v, err, want)
	}
}

func wantAbsent(t *testing.T, s kv.Reader, key string) {
	t.Helper()
	if v, err := s.Get(t.Context(), []byte(key)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get(%q) = %q, %v, want fs.ErrNotExist", key, v, err)
	}
}

func testGet(t *testing.T, s kv.Store) {
	wantAbsent(t, s, "a")
	batch(t, s)
	batch(t, s, put("a", "1"), put("empty", ""), kv.Put([]byte("nil"), nil), put("a\x00", "2"), put("\x00", "3"))
	wantValue(t, s, "a", "1")
	wantValue(t, s, "a\x00", "2")
	wantValue(t, s, "\x00", "3")
	for _, key := range []string{"empty", "nil"} {
		if v, err := s.Get(t.Context(), []byte(key)); err != nil || v == nil || len(v) != 0 {
			t.Errorf("Get(%q) = %#v, %v, want an empty value that is not nil", key, v, err)
		}
	}
	wantAbsent(t, s, "")
	wantAbsent(t, s, "b")
	batch(t, s, put("a", "other"), kv.Delete([]byte("empty")), kv.Delete([]byte("never there")))
	wantValue(t, s, "a", "other")
	wantAbsent(t, s, "empty")
}

// testModel compares random writes and scans with a sorted map.
func testModel(t *testing.T, s kv.Store) {
	rnd := rand.New(rand.NewPCG(1, 2))
	key := func() []byte { // short keys of few letters, so that they meet
		b := make([]byte, 1+rnd.IntN(4))
		for i := range b {
			b[i] = "\x00\x01a\xfe\xff"[rnd.IntN(5)]
		}
		return b
	}
	model := map[string]string{}
	for round := range 60 {
		var ops []kv.Op
		for range rnd.IntN(20) {
			o := kv.Put(key(), key())
			switch rnd.IntN(10) {
			case 0, 1, 2:
				o = kv.Delete(o.Key)
			case 3:
				o = kv.DeleteRange(kv.Range{From: o.Key, To: o.Value}) // also with From after To
			}
			ops = append(ops, o)
			applyModel(model, o)
		}
		batch(t, s, ops...)
		for _, r := range []kv.Range{{}, {From: key()}, {To: key()}, {From: key(), To: key()}, kv.Prefix(key()), {From: key(), To: []byte{}}} {
			if diff := cmp.Diff(scanModel(model, r), scan(t, s, r)); diff != "" {
				t.Fatalf("round %d, Scan(%q, %q) (-want +got):\n%s", round, r.From, r.To, diff)
			}
		}
	}
}

func inRange(k string, r kv.Range) bool {
	return k >= string(r.From) && (r.To == nil || k < string(r.To))
}

func applyModel(m map[string]string, o kv.Op) {
	switch o.Kind {
	case kv.KindPut:
		m[string(o.Key)] = string(o.Value)
	case kv.KindDelete:
		delete(m, string(o.Key))
	case kv.KindDeleteRange:
		maps.DeleteFunc(m, func(k, _ string) bool { return inRange(k, kv.Range{From: o.Key, To: o.Value}) })
	}
}

func scanModel(m map[string]string, r kv.Range) (want []string) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if inRange(k, r) {
			want = append(want, k, m[k])
		}
	}
	return want
}

func testPrefix(t *testing.T, s kv.Store) {
	all := []string{"\x00", "a", "a\x00", "a\xff", "a\xff\x00", "a\xff\xff", "a\xff\xff\x01", "b", "\xfe\xff", "\xff", "\xff\x00", "\xff\xff", "\xff\xff\xff"}
	batch(t, s, puts(all...)...)
	for _, prefix := range []string{"", "\x00", "a", "a\xff", "a\xff\xff", "b", "c", "\xfe", "\xff", "\xff\xff", "\xff\xff\xff", "\xff\xff\xff\xff"} {
		var want []string
		for _, k := range all {
			if bytes.HasPrefix([]byte(k), []byte(prefix)) {
				want = append(want, k)
			}
		}
		wantKeys(t, s, kv.Prefix([]byte(prefix)), want...)
	}
}

func testLongKeys(t *testing.T, s kv.Store) {
	long := string(bytes.Repeat([]byte{0xab}, kv.MaxKey-1))
	value := string(bytes.Repeat([]byte("value"), 200_000))
	batch(t, s, put(long+"a", "1"), put(long+"b", value))
	wantValue(t, s, long+"a", "1")
	wantValue(t, s, long+"b", value)
	wantKeys(t, s, kv.Prefix([]byte(long)), long+"a", long+"b")
	wantAbsent(t, s, long+"bc")
}

func testCanceled(t *testing.T, s kv.Store) {
	batch(t, s, puts("a", "b", "c")...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for _, err := range s.Scan(ctx, kv.Range{}) {
		if err != nil {
			if !errors.Is(err, context.Canceled) || n != 1 {
				t.Errorf("after %d pairs Scan fails with %v", n, err)
			}
			n = -1
			continue
		}
		n++
		cancel()
	}
	if n != -1 {
		t.Errorf("Scan went on after its context was canceled: %d pairs", n)
	}
	_, getErr := s.Get(ctx, []byte("a"))
	var scanErr error
	for _, scanErr = range s.Scan(ctx, kv.Range{From: []byte("x")}) {
	}
	for call, err := range map[string]error{
		"Get": getErr, "Scan": scanErr, "Batch": s.Batch(ctx, puts("d")),
		"Update": s.Update(ctx, []byte("d"), func([]byte) ([]byte, error) { return []byte("d"), nil }),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a canceled context: %v, want context.Canceled", call, err)
		}
	}
	wantKeys(t, s, kv.Range{}, "a", "b", "c")
}

// testAliasing scribbles over everything that went in or came out.
func testAliasing(t *testing.T, s kv.Store) {
	key, value := []byte("key"), []byte("value")
	batch(t, s, kv.Put(key, value), put("key2", "value2"))
	clear(key)
	clear(value)
	check := func() {
		t.Helper()
		if diff := cmp.Diff([]string{"key", "value", "key2", "value2"}, scan(t, s, kv.Range{})); diff != "" {
			t.Errorf("the content changed (-want +got):\n%s", diff)
		}
	}
	check()
	v, err := s.Get(t.Context(), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	clear(v)
	check()
	var pairs []kv.Pair
	for p := range s.Scan(t.Context(), kv.Range{}) {
		pairs = append(pairs, p)
		_ = append(p.Key, "overwrites what follows"...)
		_ = append(p.Value, "overwrites what follows"...)
	}
	if len(pairs) != 2 || string(pairs[0].Key) != "key" || string(pairs[0].Value) != "value" {
		t.Errorf("pairs changed while the scan went on: %q", pairs)
	}
	for _, p := range pairs {
		clear(p.Key)
		clear(p.Value)
	}
	check()
	result := []byte("value")
	err = s.Update(t.Context(), []byte("key"), func(old []byte) ([]byte, error) {
		clear(old)
		return result, nil
	})
	clear(result)
	if err != nil {
		t.Error(err)
	}
	check()
	failed := errors.New("failed")
	if err := s.Update(t.Context(), []byte("key"), func(old []byte) ([]byte, error) { clear(old); return nil, failed }); !errors.Is(err, failed) {
		t.Errorf("Update: %v", err)
	}
	check()
}
