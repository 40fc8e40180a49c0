package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"

	"github.com/multiformats/go-multihash"
	"github.com/multiformats/go-varint"
	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

const (
	spanHashes = 1024    // multihashes that a goroutine makes records of at a time
	batchBytes = 4 << 20 // of records in one write to the value store, more or less
)

// span is consecutive multihashes, with the bytes of the records that they become.
type span struct {
	in   ipni.Multihashes
	size int
}

// Put adds multihashes to a group. Those that are not kept, see [Stats], are counted and
// are no error. Malformed ones are an error before anything is written.
func (s *Store) Put(ctx context.Context, g ipni.Group, mhs ipni.Multihashes) error {
	if err := s.put(ctx, g, mhs); err != nil {
		return fmt.Errorf("store: put for %s: %w", g.Provider, err)
	}
	return nil
}

func (s *Store) put(ctx context.Context, g ipni.Group, mhs ipni.Multihashes) error {
	valueKey, err := checkContext(g.Context)
	if err != nil {
		return err
	}
	spans, err := s.plan(mhs, valueKey)
	if err != nil || len(spans) == 0 {
		return err
	}
	group, owned := g.Seal(), valueKey
	if !s.o.Compact {
		owned = nil // a sealed store does not tell whose its groups are
	}
	return s.groups.use(ctx, group, owned, func(tag valuestore.Tag) error {
		for len(spans) > 0 {
			n, size := 0, 0
			for n < len(spans) && (n == 0 || size+spans[n].size <= batchBytes) {
				size += spans[n].size
				n++
			}
			if err := s.write(ctx, tag, spans[:n], size, valueKey); err != nil {
				return err
			}
			spans = spans[n:]
		}
		return nil
	})
}

// checkContext returns the value key of a context, or that it has none.
func checkContext(c ipni.Context) ([]byte, error) {
	valueKey := c.ValueKey()
	if id, _, err := dhash.SplitValueKey(valueKey); err != nil || id != c.Provider {
		return nil, errors.Join(fmt.Errorf("context of %d bytes, provider of %d: %w", len(c.ID), len(c.Provider), fs.ErrInvalid), err)
	}
	return valueKey, nil
}

// plan cuts mhs into spans, and counts what is left out.
func (s *Store) plan(mhs ipni.Multihashes, valueKey []byte) ([]span, error) {
	var (
		spans             []span
		cur               span
		n, at             int
		second, short, lg uint64
	)
	for mh, err := range mhs.All() {
		if err != nil {
			return nil, err
		}
		switch s.refuses(mh) {
		case keep:
			cur.size += s.recordSize(mh, valueKey)
		case isSecond:
			second++
		case isShort:
			short++
		case isLong:
			lg++
		}
		at += len(mh)
		if n++; n%spanHashes == 0 || at == len(mhs) {
			cur.in = mhs[:at]
			mhs, at = mhs[at:], 0
			if cur.size > 0 {
				spans = append(spans, cur)
			}
			cur = span{}
		}
	}
	s.counts.second.Add(second)
	s.counts.short.Add(short)
	s.counts.long.Add(lg)
	return spans, nil
}

// refusal is why a multihash is not kept.
type refusal byte

const (
	keep refusal = iota
	isSecond
	isShort
	isLong
)

// refuses tells whether a well-formed multihash is not kept.
func (s *Store) refuses(mh multihash.Multihash) refusal {
	code, n, err := varint.FromUvarint(mh)
	if err != nil {
		return isLong // a code beyond the standard's limit: no client makes it
	}
	_, m, _ := varint.FromUvarint(mh[n:])
	switch {
	case code == multihash.DBL_SHA2_256:
		return isSecond
	case len(mh)-n-m < s.o.MinLength:
		return isShort
	case len(mh) > valuestore.MaxValue:
		return isLong
	}
	return keep
}

// recordSize is the length of what appendRecord appends.
func (s *Store) recordSize(mh multihash.Multihash, valueKey []byte) int {
	value := len(valueKey) + dhash.Overhead
	if s.o.Compact {
		value = len(mh)
	}
	return dhash.KeySize + varint.UvarintSize(uint64(value)) + value
}

// appendRecord appends the record of a multihash in the form of the mode.
func (s *Store) appendRecord(dst valuestore.Records, mh multihash.Multihash, valueKey []byte) valuestore.Records {
	key := dhash.SecondHash(mh)
	if s.o.Compact {
		return dst.Append(key, mh)
	}
	return appendSealed(dst, key, mh, valueKey)
}

// appendSealed appends the record of a sealed store.
func appendSealed(dst valuestore.Records, key dhash.Key, mh multihash.Multihash, valueKey []byte) valuestore.Records {
	dst = append(dst, key[:]...)
	dst = binary.AppendUvarint(dst, uint64(len(valueKey)+dhash.Overhead))
	return dhash.Seal(dst, valueKey, mh)
}

// write puts the records of spans, which have size bytes in all. Each goroutine fills its part
// of the buffer.
func (s *Store) write(ctx context.Context, tag valuestore.Tag, spans []span, size int, valueKey []byte) error {
	buf, _ := s.buffers.Get().(*valuestore.Records)
	if buf == nil || cap(*buf) < size {
		b := make(valuestore.Records, size)
		buf = &b
	}
	defer s.buffers.Put(buf)
	records := (*buf)[:size]
	if err := s.fill(ctx, records, spans, valueKey); err != nil {
		return err
	}
	return s.values.Put(ctx, tag, records)
}

func (s *Store) fill(ctx context.Context, records valuestore.Records, spans []span, valueKey []byte) error {
	if len(spans) == 1 {
		return s.encode(records, spans[0], valueKey)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.o.Workers)
	for _, p := range spans {
		part := records[:p.size]
		records = records[p.size:]
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return s.encode(part, p, valueKey)
		})
	}
	return g.Wait()
}

// encode fills dst with the records of p.
func (s *Store) encode(dst valuestore.Records, p span, valueKey []byte) error {
	out := dst[:0:len(dst)]
	for mh, err := range p.in.All() {
		if err != nil {
			return err // the input was changed while it was read
		}
		if s.refuses(mh) == keep {
			out = s.appendRecord(out, mh, valueKey)
		}
	}
	if len(out) != len(dst) {
		return fmt.Errorf("records of %d bytes where %d were planned: the input was changed", len(out), len(dst))
	}
	return nil
}

// Remove removes the groups of c with an epoch below before. Metadata stays.
func (s *Store) Remove(ctx context.Context, c ipni.Context, before uint64) error {
	g := ipni.Group{Context: c}.Seal()
	return s.RemoveSealed(ctx, g.Provider, &g.Context, before)
}

// RemoveProvider removes all of a provider, with the metadata of the contexts that have groups here.
func (s *Store) RemoveProvider(ctx context.Context, tag ipni.ProviderTag) error {
	return s.RemoveSealed(ctx, tag, nil, math.MaxUint64)
}
