package outboard

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/digest"
)

// TestLocate gives every node of trees of many sizes a slot of its own, and
// leaves no slot between.
func TestLocate(t *testing.T) {
	for _, n := range []int64{2, 3, 63, 64, 65, 128, 129, 4095, 4096, 4097, 4160, 64*64*64 + 1, 300000} {
		filled := map[place]int{}
		type slotAt struct {
			place
			slot int
		}
		seen := map[slotAt]bool{}
		for split := int64(1); split < n; split++ {
			p, slot := locate(split)
			if slot < 0 || slot >= p.nodes(n) || seen[slotAt{p, slot}] {
				t.Fatalf("%d groups: node %d is in slot %d of %v, which has %d", n, split, slot, p, p.nodes(n))
			}
			seen[slotAt{p, slot}] = true
			filled[p]++
		}
		for p, got := range filled {
			if got != p.nodes(n) {
				t.Fatalf("%d groups: %v has %d nodes, says %d", n, p, got, p.nodes(n))
			}
		}
	}
	n := groups(1 << 40)
	if n != 64<<20 {
		t.Fatalf("1 TiB is %d groups", n)
	}
	for range 10000 {
		split := 1 + rand.Int64N(n-1)
		if p, slot := locate(split); slot < 0 || slot >= p.nodes(n) || p.tier > 4 {
			t.Fatalf("node %d of 1 TiB is in slot %d of %v", split, slot, p)
		}
	}
	if p, slot := locate(bao.MaxSize / bao.GroupSize / 2); p != (place{7, 0}) || slot != 7 {
		t.Errorf("the root of the largest blob is in slot %d of %v", slot, p)
	}
}

func FuzzHeader(f *testing.F) {
	for _, size := range []int64{0, bao.GroupSize, bao.GroupSize + 1, 1 << 40, bao.MaxSize, bao.MaxSize + 1} {
		f.Add(encodeHeader(size))
	}
	f.Add([]byte{1, 0x81, 0x80, 0x81, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		size, err := decodeHeader(b)
		if err != nil {
			if !errors.Is(err, digest.ErrMismatch) {
				t.Fatalf("error without kind: %v", err)
			}
			return
		}
		if size <= bao.GroupSize || size > bao.MaxSize || !bytes.Equal(encodeHeader(size), b) {
			t.Fatalf("%x is %d bytes", b, size)
		}
	})
}

func FuzzSegment(f *testing.F) {
	f.Add(encodeSegment(make([]byte, 2*pairSize)), 2)
	f.Add([]byte{1}, 0)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		pairs, err := decodeSegment(b, n&perTier)
		if err != nil {
			if !errors.Is(err, digest.ErrMismatch) {
				t.Fatalf("error without kind: %v", err)
			}
			return
		}
		if len(pairs) != n&perTier*pairSize || !bytes.Equal(encodeSegment(pairs), b) {
			t.Fatalf("%x has %d nodes", b, len(pairs))
		}
	})
}
