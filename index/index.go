package index

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/maypok86/otter/v2"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
)

// Index finds records.
type Index struct {
	store     kv.Reader
	locations *otter.Cache[ref, Location]
	segments  *otter.Cache[segmentAt, *Segment]
}

type segmentAt struct {
	id     planID
	number int64
}

// Options tunes an [Index]. The zero value is ready to use.
type Options struct {
	CachedSegments int // decoded plan segments kept in memory, about 150 KiB each; default 64
}

// New returns an Index over store.
func New(store kv.Reader, o *Options) *Index {
	if o == nil {
		o = &Options{}
	}
	return &Index{
		store:     store,
		locations: otter.Must(&otter.Options[ref, Location]{MaximumSize: 1 << 15}), // packs of 128 MiB: 4 TiB
		segments:  otter.Must(&otter.Options[segmentAt, *Segment]{MaximumSize: max(o.CachedSegments, 64)}),
	}
}

// Has reports whether the index knows d: as the root of a plan, or else as a block.
func (x *Index) Has(ctx context.Context, d digest.Digest) (bool, error) {
	for _, err := range x.Find(ctx, d, digest.Digest{}) {
		return err == nil, err
	}
	return false, nil
}

// Find yields the records of d: its plans, then the locations of its bytes, then
// itself if it is a pack. The containing may be zero; otherwise its plan is
// searched for d where the index holds no record of d's bytes.
func (x *Index) Find(ctx context.Context, d, hint digest.Digest) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if inline, ok := d.Inline(); ok {
			yield(Record{Digest: d, Type: InlineBlob, Length: int64(len(inline))}, nil)
			return
		}
		for p, err := range x.Plans(ctx, d) {
			if !yield(Record{Digest: d, Type: Containing, Length: p.containing.sections}, err) || err != nil {
				return
			}
		}
		for r, err := range x.Places(ctx, d, hint) {
			if !yield(r, err) || err != nil {
				return
			}
		}
		loc := Location{Pack: d}
		switch _, err := x.store.Get(ctx, locationKey(loc.ref())); {
		case err == nil:
			yield(Record{Digest: d, Type: Pack, Location: loc}, nil)
		case !errors.Is(err, fs.ErrNotExist):
			yield(Record{}, fmt.Errorf("index: find %s: %w", d, err))
		}
	}
}

// Places yields the places of one block's bytes, found by its own records or else,
// unless it is zero, in the plan of a containing.
func (x *Index) Places(ctx context.Context, d, hint digest.Digest) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		found := false
		for r, err := range x.Blobs(ctx, d) {
			found = true
			if !yield(r, err) || err != nil {
				return
			}
		}
		if found || hint.IsZero() {
			return
		}
		for r, err := range x.hinted(ctx, d, hint) {
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// Blobs yields the places of one block's bytes. Places that are quarantined or
// whose location was removed are left out.
func (x *Index) Blobs(ctx context.Context, d digest.Digest) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		prefix := keysOf(keyBlock, d)
		for p, err := range x.store.Scan(ctx, kv.Prefix(prefix)) {
			if err == nil && len(p.Key) != len(prefix)+len(ref{}) {
				err = fmt.Errorf("%w: key of %d bytes", ErrCorrupt, len(p.Key))
			}
			var r Record
			if err == nil {
				r, err = x.blob(ctx, d, suffix(p.Key), p.Value)
			}
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				yield(Record{}, fmt.Errorf("index: find %s: %w", d, err))
				return
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (x *Index) blob(ctx context.Context, d digest.Digest, r ref, value []byte) (Record, error) {
	at, err := decodePlace(value)
	if err != nil {
		return Record{}, err
	}
	loc, err := x.location(ctx, r)
	if err != nil {
		return Record{}, err
	}
	if bad, err := x.Quarantined(ctx, d, loc); bad || err != nil {
		return Record{}, cmpErr(err, fs.ErrNotExist)
	}
	return Record{Digest: d, Type: Blob, Location: loc, Offset: at.offset, Length: at.size}, nil
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// location resolves a reference. One that was removed gives [fs.ErrNotExist].
// Names are never reused, so a cached answer can be out of date only by naming
// bytes that are gone, which reading them tells.
func (x *Index) location(ctx context.Context, r ref) (Location, error) {
	if loc, ok := x.locations.GetIfPresent(r); ok {
		return loc, nil
	}
	b, err := x.store.Get(ctx, locationKey(r))
	if err != nil {
		return Location{}, err
	}
	loc, err := ParseLocation(b)
	if err != nil {
		return Location{}, err
	}
	x.locations.Set(r, loc)
	return loc, nil
}

func (x *Index) hinted(ctx context.Context, d, hint digest.Digest) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for p, err := range x.Plans(ctx, hint) {
			if err != nil {
				yield(Record{}, err)
				return
			}
			for r, err := range p.Records(ctx) {
				if err == nil && r.Digest != d {
					continue
				}
				if err == nil {
					var bad bool
					if bad, err = x.Quarantined(ctx, d, r.Location); bad {
						continue
					}
				}
				if !yield(r, err) || err != nil {
					return
				}
			}
		}
	}
}
