package state

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/hashstream/hashstream/kv"
)

// RaiseSeq makes NextSeq return numbers above n from now on. It is for rows that were
// restored beside records of a later moment, whose epochs must not come again.
func (s *Store) RaiseSeq(ctx context.Context, n uint64) error {
	return s.kv.Update(ctx, []byte(keyCounter), func(old []byte) ([]byte, error) {
		if old != nil && len(old) != 8 {
			return nil, malformed("counter", len(old))
		}
		if n >= MaxDepth {
			return nil, errors.New("the numbers of gaps are used up")
		}
		if old != nil {
			n = max(n, binary.BigEndian.Uint64(old))
		}
		return binary.BigEndian.AppendUint64(nil, n), nil
	})
}

// Seq returns the number that was given out last, if p is the row that tells it.
func Seq(p kv.Pair) (n uint64, ok bool) {
	if string(p.Key) != keyCounter || len(p.Value) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(p.Value), true
}
