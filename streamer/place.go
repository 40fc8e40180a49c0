package streamer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/streamer/sections"
)

// key is the name under which ranges of a location are remembered as verified.
func key(loc index.Location) string {
	if loc.Path != "" {
		return loc.Path
	}
	return pack.Key(loc.Pack)
}

// get opens n bytes of a location from off.
func (s *Streamer) get(ctx context.Context, loc index.Location, off, n int64) (blob.Object, error) {
	name, stored := loc.StoreKey()
	switch {
	case loc.Path == "":
		return s.packs.Get(ctx, pack.Key(loc.Pack), off, n)
	case stored:
		return s.packs.Get(ctx, name, off, n)
	case s.o.Files == nil:
		return nil, fmt.Errorf("streamer: %s: raw files are not served: %w", loc, fs.ErrNotExist)
	}
	return s.o.Files.GetIf(ctx, loc.Path, loc.Version, off, n)
}

// stat returns an error unless there is something at loc.
func (s *Streamer) stat(ctx context.Context, loc index.Location) error {
	name, stored := loc.StoreKey()
	if loc.Path == "" {
		name, stored = pack.Key(loc.Pack), true
	}
	if stored {
		_, err := s.packs.Stat(ctx, name)
		return err
	}
	obj, err := s.get(ctx, loc, 0, 0)
	if err != nil {
		return err
	}
	return obj.Close()
}

// elsewhere reports whether there are other copies of what a selection has at loc, which
// is gone. It looks at the first few thousand blocks.
func (s *Streamer) elsewhere(ctx context.Context, ps sections.Selection, loc index.Location) bool {
	looked := 0
	for st, err := range ps.Stretches(ctx) {
		if len(st.Entries) == 0 || looked >= maxLooked {
			return true
		}
		if err == nil && st.Location != loc {
			continue
		}
		for _, e := range st.Entries {
			if !s.copied(ctx, e) {
				return false
			}
		}
		looked += len(st.Entries)
	}
	return true
}

const maxLooked = 4 * index.SegmentEntries

// copied reports whether the block of an entry is in an object that is there.
func (s *Streamer) copied(ctx context.Context, e index.Entry) bool {
	c, err := e.CID()
	if err != nil {
		return false
	}
	d, err := digest.FromCID(c)
	if err != nil {
		return false
	}
	for rec, err := range s.index.Places(ctx, d, digest.Digest{}) {
		if err != nil {
			return false
		}
		if s.stat(ctx, rec.Location) == nil {
			return true
		}
	}
	return false
}

// recheck returns an error if obj was changed by others while it was read.
func recheck(obj blob.Object) error {
	if r, ok := obj.(blob.Rechecker); ok {
		return r.Recheck()
	}
	return nil
}

const (
	presentLocations = 4
	presentEntries   = index.SegmentEntries
)

// errGone reports a plan of which a block is nowhere any more: not there, nor
// in a copy elsewhere that a walk might find.
var errGone = errors.New("a part is gone")

// present makes sure that what a selection needs first is there: the first few
// locations of its first segment, which are all of a raw file's. If one is gone the
// error matches [fs.ErrNotExist], and errGone too if no walk can help.
func (s *Streamer) present(ctx context.Context, ps sections.Selection) error {
	known, seen := map[index.Location]bool{}, 0
	for st, err := range ps.Stretches(ctx) {
		if err == nil && !known[st.Location] {
			err = s.stat(ctx, st.Location)
			known[st.Location] = true
		}
		if errors.Is(err, fs.ErrNotExist) && len(st.Entries) > 0 && !s.elsewhere(ctx, ps, st.Location) {
			return fmt.Errorf("%w: %w", errGone, err)
		}
		if err != nil || len(known) >= presentLocations {
			return err
		}
		if seen += len(st.Entries); seen >= presentEntries {
			break
		}
	}
	return nil
}

// Complete reports whether a plan of root is stored of which every pack is there,
// and none has a copy in quarantine. It reads no pack.
func (s *Streamer) Complete(ctx context.Context, root digest.Digest) (bool, error) {
	for p, err := range s.index.Plans(ctx, root) {
		if err != nil {
			return false, err
		}
		if err := s.packsOf(ctx, p); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return err == nil, err
		}
	}
	return false, nil
}

func (s *Streamer) packsOf(ctx context.Context, p index.Plan) error {
	known := map[index.Location]bool{}
	for loc, err := range p.Locations(ctx) {
		if err == nil && !known[loc] {
			err = s.stat(ctx, loc)
			known[loc] = true
			if err == nil && s.suspects.has(ctx, s.index, loc) {
				err = fmt.Errorf("streamer: %s is damaged: %w", loc, fs.ErrNotExist)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
