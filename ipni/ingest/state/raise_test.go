package state

import (
	"testing"

	"github.com/hashstream/hashstream/kv/memkv"
)

func TestRaiseSeq(t *testing.T) {
	s := New(memkv.New())
	for _, x := range []struct{ raise, want uint64 }{{0, 1}, {7, 8}, {3, 9}, {9, 10}} {
		if err := s.RaiseSeq(t.Context(), x.raise); err != nil {
			t.Fatal(err)
		}
		if got, err := s.NextSeq(t.Context()); err != nil || got != x.want {
			t.Errorf("after %d: %d, %v, want %d", x.raise, got, err, x.want)
		}
	}
	if err := s.RaiseSeq(t.Context(), MaxDepth); err == nil {
		t.Error("a counter that is used up: no error")
	}
}
