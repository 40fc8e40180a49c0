package registry

import (
	"bytes"
	"context"
	"fmt"

	"github.com/hashstream/hashstream/kv"
)

// merge makes changes row by row, each atomically.
func (r *Registry) merge(ctx context.Context, changes []Change) error {
	for _, c := range changes {
		err := c.check()
		if err == nil {
			err = r.mergeProvider(ctx, c)
		}
		if err == nil && c.Extended != nil {
			err = r.mergeSet(ctx, c)
		}
		if err != nil {
			return fmt.Errorf("registry: change %s: %w", c.Provider, err)
		}
	}
	return nil
}

func (r *Registry) mergeProvider(ctx context.Context, c Change) error {
	return r.kv.Update(ctx, providerKey(c.Provider), func(old []byte) (_ []byte, err error) {
		p := Provider{ID: c.Provider}
		if old != nil {
			if p, err = decodeProvider(c.Provider, old); err != nil {
				return nil, err
			}
		}
		p.apply(c)
		return keep(old)(encodeProvider(p))
	})
}

func (r *Registry) mergeSet(ctx context.Context, c Change) error {
	key := setKey(c.Provider, c.Extended.ContextID)
	return r.kv.Update(ctx, key, func(old []byte) (_ []byte, err error) {
		s := Set{ContextID: c.Extended.ContextID}
		if old != nil {
			if s, err = parseSet(c.Provider, kv.Pair{Key: key, Value: old}); err != nil {
				return nil, err
			}
		}
		s.apply(c)
		return keep(old)(encodeSet(s))
	})
}

// keep returns what a row is encoded to, or old if that is the same.
func keep(old []byte) func([]byte, error) ([]byte, error) {
	return func(next []byte, err error) ([]byte, error) {
		if err == nil && bytes.Equal(old, next) {
			return old, nil
		}
		return next, err
	}
}
