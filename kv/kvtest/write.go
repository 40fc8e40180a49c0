package kvtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashstream/hashstream/kv"
)

func testBatchOrder(t *testing.T, s kv.Store) {
	batch(t, s, puts("old", "r1", "r2", "r9")...)
	batch(t, s,
		put("twice", "1"), put("twice", "2"),
		put("gone", "1"), kv.Delete([]byte("gone")),
		kv.Delete([]byte("back")), put("back", "1"),
		put("r5", "covered"), kv.DeleteRange(kv.Prefix([]byte("r"))), put("r2", "after"),
		kv.Delete([]byte("old")),
	)
	wantKeys(t, s, kv.Range{}, "back", "r2", "twice")
	wantValue(t, s, "twice", "2")
	wantValue(t, s, "r2", "after")
}

func testBatchInvalid(t *testing.T, s kv.Store) {
	batch(t, s, put("a", "1"))
	long := make([]byte, kv.MaxKey+1)
	for name, op := range map[string]kv.Op{
		"put of the empty key":     kv.Put(nil, []byte("x")),
		"put of a long key":        kv.Put(long, nil),
		"delete of the empty key":  kv.Delete([]byte{}),
		"delete of a long key":     kv.Delete(long),
		"endless range":            kv.DeleteRange(kv.Range{From: []byte("a")}),
		"operation without a kind": {Kind: 99, Key: []byte("a")},
	} {
		if err := s.Batch(t.Context(), []kv.Op{put("b", "2"), kv.Delete([]byte("a")), op}); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v, want fs.ErrInvalid", name, err)
		}
		wantKeys(t, s, kv.Range{}, "a")
	}
	for _, key := range [][]byte{nil, long} {
		if err := s.Update(t.Context(), key, func([]byte) ([]byte, error) { return []byte("x"), nil }); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Update of a key of %d bytes: %v, want fs.ErrInvalid", len(key), err)
		}
	}
	wantKeys(t, s, kv.Range{}, "a")
}

// testBatchAtomic writes two keys in each batch: no scan sees them differ.
func testBatchAtomic(t *testing.T, s kv.Store) {
	batch(t, s, put("p/a", "start"), put("p/b", "start"))
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := range 20 {
				v := fmt.Sprint(w, i)
				if err := s.Batch(t.Context(), []kv.Op{put("p/a", v), put("noise"+v, ""), put("p/b", v)}); err != nil {
					t.Errorf("Batch: %v", err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 200 {
			if got := scan(t, s, kv.Prefix([]byte("p/"))); len(got) != 4 || got[1] != got[3] {
				t.Errorf("half of a batch is visible: %q", got)
				return
			}
		}
	})
	wg.Wait()
}

func testBatchLarge(t *testing.T, s kv.Store) {
	value := strings.Repeat("x", 100)
	var ops []kv.Op
	for i := range 50_000 {
		ops = append(ops, put(fmt.Sprintf("%08d", i*7919%50_000), value))
	}
	batch(t, s, ops...)
	n := 0
	for p, err := range s.Scan(t.Context(), kv.Range{}) {
		if err != nil || string(p.Key) != fmt.Sprintf("%08d", n) || string(p.Value) != value {
			t.Fatalf("pair %d is %q, %v", n, p.Key, err)
		}
		n++
	}
	if n != 50_000 {
		t.Errorf("%d pairs, want 50000", n)
	}
}

func testDeleteRange(t *testing.T, s kv.Store) {
	batch(t, s, puts("a", "b", "b\x00", "c", "c/1", "c/2", "d")...)
	for _, c := range []struct {
		r    kv.Range
		want string
	}{
		{kv.Range{From: []byte("b"), To: []byte("b")}, "a b b\x00 c c/1 c/2 d"},
		{kv.Range{From: []byte("d"), To: []byte("a")}, "a b b\x00 c c/1 c/2 d"},
		{kv.Range{From: []byte("x"), To: []byte("z")}, "a b b\x00 c c/1 c/2 d"},
		{kv.Prefix([]byte("c/")), "a b b\x00 c d"},
		{kv.Range{From: []byte("b"), To: []byte("b\x00")}, "a b\x00 c d"},
		{kv.Range{To: []byte("b")}, "b\x00 c d"},
		{kv.Range{From: []byte("b"), To: []byte("\xff")}, ""},
	} {
		batch(t, s, kv.DeleteRange(c.r))
		var want []string
		if c.want != "" {
			want = strings.Split(c.want, " ")
		}
		wantKeys(t, s, kv.Range{}, want...)
	}
	batch(t, s, puts("b")...) // a range that was deleted takes keys again
	wantKeys(t, s, kv.Range{}, "b")
}

func testScanSnapshot(t *testing.T, s kv.Store) {
	keys := make([]string, 500)
	for i := range keys {
		keys[i] = fmt.Sprintf("k%04d", i)
	}
	batch(t, s, puts(keys...)...)
	n := 0
	for p, err := range s.Scan(t.Context(), kv.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			batch(t, s, put("k0001", "changed"), put("k0001x", "new"), kv.Delete([]byte("k0002")))
			batch(t, s, kv.DeleteRange(kv.Range{From: []byte("k0250"), To: []byte("l")}))
		}
		if string(p.Key) != keys[n] || string(p.Value) != "v"+keys[n] {
			t.Fatalf("pair %d is %q = %q: not as it was when the scan began", n, p.Key, p.Value)
		}
		n++
	}
	if n != len(keys) {
		t.Errorf("the scan saw %d pairs, want %d", n, len(keys))
	}
	wantValue(t, s, "k0001", "changed")
	wantAbsent(t, s, "k0300")
}

// testScanNested uses the store in every way from within a scan.
func testScanNested(t *testing.T, s kv.Store) {
	batch(t, s, puts("a", "b", "c")...)
	seq := s.Scan(t.Context(), kv.Range{})
	for p := range seq {
		wantKeys(t, s, kv.Prefix(p.Key), string(p.Key))
		wantValue(t, s, string(p.Key), "v"+string(p.Key))
		if err := s.Update(t.Context(), p.Key, func(old []byte) ([]byte, error) { return old, nil }); err != nil {
			t.Error(err)
		}
	}
	batch(t, s, puts("d")...)
	n := 0
	for range seq { // a sequence can be run again, and then begins anew
		n++
	}
	if n != 4 {
		t.Errorf("the second run of a scan saw %d pairs, want 4", n)
	}
}

func testScanBreak(t *testing.T, s kv.Store) {
	batch(t, s, puts("a", "b", "c")...)
	for range 1000 { // what a scan holds is given back
		for p := range s.Scan(t.Context(), kv.Range{}) {
			if string(p.Key) != "a" {
				t.Fatalf("first key %q", p.Key)
			}
			break
		}
	}
	batch(t, s, puts("0")...)
	wantKeys(t, s, kv.Range{}, "0", "a", "b", "c")
}

func testUpdate(t *testing.T, s kv.Store) {
	failed := errors.New("failed")
	for _, c := range []struct {
		name     string
		old, new []byte
		err      error
		want     string // "-": absent
	}{
		{"create", nil, []byte("1"), nil, "1"},
		{"replace", []byte("1"), []byte("2"), nil, "2"},
		{"error", []byte("2"), []byte("3"), failed, "2"},
		{"to empty", []byte("2"), []byte{}, nil, ""},
		{"from empty", []byte{}, []byte("4"), nil, "4"},
		{"delete", []byte("4"), nil, nil, "-"},
		{"delete absent", nil, nil, nil, "-"},
		{"error absent", nil, []byte("5"), failed, "-"},
	} {
		err := s.Update(t.Context(), []byte("k"), func(old []byte) ([]byte, error) {
			if string(old) != string(c.old) || (old == nil) != (c.old == nil) {
				t.Errorf("%s: the old value is %#v, want %#v", c.name, old, c.old)
			}
			return c.new, c.err
		})
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		if c.want == "-" {
			wantAbsent(t, s, "k")
		} else {
			wantValue(t, s, "k", c.want)
		}
	}
}

func increment(old []byte) ([]byte, error) {
	var n uint64
	if old != nil {
		n = binary.BigEndian.Uint64(old)
	}
	return binary.BigEndian.AppendUint64(nil, n+1), nil
}

func testUpdateContention(t *testing.T, s kv.Store) {
	const workers, rounds = 8, 25
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				if err := s.Update(t.Context(), []byte{'k', byte((w + i) % 2)}, increment); err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	wg.Wait()
	var sum uint64
	for p, err := range s.Scan(t.Context(), kv.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		sum += binary.BigEndian.Uint64(p.Value)
	}
	if sum != workers*rounds {
		t.Errorf("%d updates count %d", workers*rounds, sum)
	}
}

// testUpdateAndBatch lets a batch write the key while an update has read it and has
// not written yet. An update that does not notice undoes the batch.
func testUpdateAndBatch(t *testing.T, s kv.Store) {
	key, far := []byte("k"), uint64(1_000_000)
	for name, ops := range map[string][]kv.Op{
		"put":   {put("other", ""), kv.Put(key, binary.BigEndian.AppendUint64(nil, far))},
		"range": {kv.DeleteRange(kv.Prefix(key)), kv.Put(key, binary.BigEndian.AppendUint64(nil, far))},
	} {
		batch(t, s, kv.Delete(key))
		done := make(chan error, 1)
		started := false
		err := s.Update(t.Context(), key, func(old []byte) ([]byte, error) {
			if !started {
				started = true
				go func() { done <- s.Batch(t.Context(), ops) }()
				time.Sleep(50 * time.Millisecond) // the batch gets through, or waits for the update
			}
			return increment(old)
		})
		if err := errors.Join(err, <-done); err != nil {
			t.Fatal(err)
		}
		v, err := s.Get(t.Context(), key)
		if err != nil || binary.BigEndian.Uint64(v) < far {
			t.Errorf("%s: after a put of %d the value is %x, %v: an update undid it", name, far, v, err)
		}
	}
}
