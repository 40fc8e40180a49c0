package store

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/hashstream/hashstream/digest"
)

// The row of the tags is eight bytes, or corrupt.
func FuzzCounter(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 1, 0})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := parseCounter(data)
		switch {
		case data == nil || len(data) == 8 && err == nil && uint64(n) == binary.BigEndian.Uint64(data):
		case len(data) != 8 && errors.Is(err, digest.ErrMismatch):
		default:
			t.Errorf("%x is %d, %v", data, n, err)
		}
	})
}
