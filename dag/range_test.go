package dag_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
)

// TestFileRange reads every range with no more than the blocks that a walk of it yields.
func TestFileRange(t *testing.T) {
	for _, data := range [][]byte{nil, random(1, 1), random(4, 60), bytes.Repeat(random(9, 30), 3)} {
		m := newMemory()
		size := int64(len(data))
		for name, c := range m.layouts(t, data) {
			for from := -size - 3; from <= size+2; from += 3 {
				for to := from; to < size+5; to += 7 {
					r := block.ByteRange{From: from, To: to, Open: to%5 == 0}
					some := newMemory()
					var walked, failed error
					for b, err := range dag.Walk(t.Context(), m, block.Selection{Root: c, Bytes: &r}) {
						if walked = err; err == nil {
							some.put(t, b, nil)
						}
					}
					var got []byte
					for b, err := range dag.FileRange(t.Context(), some, c, r) {
						got = append(got, b...)
						failed = err
					}
					begin, end, err := r.Resolve(size)
					if err != nil {
						if !errors.Is(walked, block.ErrRange) || failed == nil || len(got) > 0 {
							t.Errorf("%s %s of %d: walked %v, read %v", name, r, size, walked, failed)
						}
						continue
					}
					if failed != nil || !bytes.Equal(got, data[begin:end]) {
						t.Fatalf("%s %s of %d: %d bytes of %d, %v", name, r, size, len(got), end-begin, failed)
					}
				}
			}
			for _, err := range dag.FileRange(t.Context(), m, c, block.ByteRange{From: size + 1, Open: true}) {
				if !errors.Is(err, block.ErrRange) {
					t.Errorf("%s beyond the end: %v", name, err)
				}
			}
		}
	}
}
