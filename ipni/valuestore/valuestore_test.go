package valuestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// FuzzRecords decodes records of any form: what is taken is what would be written.
func FuzzRecords(f *testing.F) {
	key := dhash.Key(bytes.Repeat([]byte{7}, dhash.KeySize))
	good := valuestore.Records(nil).Append(key, nil).Append(key, []byte("value")).Append(key, make([]byte, valuestore.MaxValue))
	f.Add([]byte(good))
	f.Add([]byte(good[:40]))
	f.Add(append(bytes.Clone(key[:]), 0x80, 0x00))
	f.Add(append(bytes.Clone(key[:]), 0x81, 0x08))
	f.Add(append(bytes.Clone(key[:]), bytes.Repeat([]byte{0xff}, 12)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again valuestore.Records
		n := 0
		for e, err := range valuestore.Records(b).All() {
			if err != nil {
				if !errors.Is(err, digest.ErrMismatch) {
					t.Fatal(err)
				}
				break
			}
			if len(e.Value) > valuestore.MaxValue {
				t.Fatalf("a value of %d bytes", len(e.Value))
			}
			again = again.Append(e.Key, e.Value)
			n++
		}
		if !bytes.HasPrefix(b, again) {
			t.Fatalf("%x is written as %x", b, again)
		}
		count, err := valuestore.Records(b).Check()
		if count != n || (err == nil) != (len(again) == len(b)) {
			t.Fatalf("Check says %d, %v after %d records", count, err, n)
		}
	})
}

func TestRecordsTooLong(t *testing.T) {
	key := dhash.Key{1}
	r := valuestore.Records(nil).Append(key, make([]byte, valuestore.MaxValue+1))
	if n, err := r.Check(); n != 0 || !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("a value of %d bytes is taken: %d, %v", valuestore.MaxValue+1, n, err)
	}
}

func TestRangeContains(t *testing.T) {
	a, b, c := dhash.Key{1}, dhash.Key{1, 1}, dhash.Key{2}
	got := map[string]bool{}
	for name, r := range map[string]valuestore.Range{"a-b": {From: a, To: b}, "b-b": {From: b, To: b}, "b-c": {From: b, To: c}, "c-a": {From: c, To: a}, "all": valuestore.Everything()} {
		for k, key := range map[string]dhash.Key{"a": a, "b": b, "c": c} {
			if r.Contains(key) {
				got[name+" "+k] = true
			}
		}
	}
	want := map[string]bool{"a-b a": true, "a-b b": true, "b-b b": true, "b-c b": true, "b-c c": true, "all a": true, "all b": true, "all c": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func ExampleRecords() {
	key := dhash.Key(bytes.Repeat([]byte{0xab}, dhash.KeySize))
	records := valuestore.Records(nil).Append(key, []byte("one")).Append(key, []byte("two"))
	for e, err := range records.All() {
		if err != nil {
			panic(err)
		}
		fmt.Printf("%x… %s\n", e.Key[:2], e.Value)
	}
	_, err := records[:40].Check()
	fmt.Println(err)
	// Output:
	// abab… one
	// abab… two
	// valuestore: record at byte 36: content does not match its digest: 4 bytes where a key should be
}
