package router_test

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/kv"
)

// cutKV is a store of keys that can be cut off, wholly or for writes.
type cutKV struct {
	kv.Store
	cut, writes atomic.Bool
	pause       func() // called after each scan
}

var errKV = errors.New("no store of keys")

func (s *cutKV) Get(ctx context.Context, key []byte) ([]byte, error) {
	if s.cut.Load() {
		return nil, errKV
	}
	return s.Store.Get(ctx, key)
}

func (s *cutKV) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Pair, error] {
	if s.cut.Load() {
		return func(yield func(kv.Pair, error) bool) { yield(kv.Pair{}, errKV) }
	}
	if s.pause == nil {
		return s.Store.Scan(ctx, r)
	}
	return func(yield func(kv.Pair, error) bool) {
		s.Store.Scan(ctx, r)(yield)
		s.pause()
	}
}

func (s *cutKV) Update(ctx context.Context, key []byte, f func([]byte) ([]byte, error)) error {
	if s.cut.Load() || s.writes.Load() {
		return errKV
	}
	return s.Store.Update(ctx, key, f)
}

func records(key dhash.Key, value []byte) valuestore.Records {
	return valuestore.Records(nil).Append(key, value)
}
