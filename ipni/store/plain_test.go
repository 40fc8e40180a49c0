package store

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/ipni"
)

// TestExportPlain: a compact store tells what it was given and what of that was not
// removed, a sealed one nothing.
func TestExportPlain(t *testing.T) {
	for _, compact := range []bool{false, true} {
		f := open(t, Options{Compact: compact})
		a, b := ipni.Group{Context: testContext(1, "a"), Epoch: 3}, ipni.Group{Context: testContext(2, "b"), Epoch: 4}
		gone := ipni.Group{Context: testContext(1, "a"), Epoch: 2}
		for _, g := range []ipni.Group{a, b, gone} {
			if err := f.Put(t.Context(), g, hashes(0, 5)); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Remove(t.Context(), a.Context, 3); err != nil {
			t.Fatal(err)
		}
		got := map[ipni.Group]map[string]bool{}
		var last error
		for r, err := range f.ExportPlain(t.Context()) {
			if last = err; err != nil {
				break
			}
			if got[r.Group] == nil {
				got[r.Group] = map[string]bool{}
			}
			got[r.Group][string(r.Multihash)] = true
		}
		if !compact {
			if !errors.Is(last, errors.ErrUnsupported) {
				t.Errorf("a sealed store: %v", last)
			}
			continue
		}
		all := map[string]bool{}
		for i := range 5 {
			all[string(hash(i))] = true
		}
		if diff := cmp.Diff(map[ipni.Group]map[string]bool{a: all, b: all}, got); diff != "" || last != nil {
			t.Error(last, diff)
		}
	}
}
