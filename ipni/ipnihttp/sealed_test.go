package ipnihttp

import (
	"context"
	"io/fs"
	"iter"

	"github.com/hashstream/hashstream/ipni/dhash"
)

// sealed has the same value keys under each key.
type sealed [][]byte

func (s sealed) ValueKeys(context.Context, dhash.Key) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, v := range s {
			if !yield(v, nil) {
				return
			}
		}
	}
}

func (s sealed) SealedMetadata(context.Context, dhash.MetadataKey) ([]byte, error) {
	return nil, fs.ErrNotExist
}
