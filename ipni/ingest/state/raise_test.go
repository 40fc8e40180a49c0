package state

import (
	"testing"

	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

func TestRaiseSeq(t *testing.T) {
	rows := memkv.New()
	s := New(rows)
	for _, x := range []struct{ raise, want uint64 }{{0, 1}, {7, 8}, {3, 9}, {9, 10}} {
		if err := s.RaiseSeq(t.Context(), x.raise); err != nil {
			t.Fatal(err)
		}
		if got, err := s.NextSeq(t.Context()); err != nil || got != x.want {
			t.Errorf("after %d: %d, %v, want %d", x.raise, got, err, x.want)
		}
	}
	for p, err := range rows.Scan(t.Context(), kv.Range{From: []byte{0}}) {
		if n, ok := Seq(p); n != 10 || !ok || err != nil {
			t.Errorf("the row tells %d, %t, %v", n, ok, err)
		}
	}
	if err := s.RaiseSeq(t.Context(), MaxDepth); err == nil {
		t.Error("a counter that is used up: no error")
	}
}
