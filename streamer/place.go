package streamer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/streamer/sections"
)

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
			if !s.copies.Copied(ctx, e) {
				return false
			}
		}
		looked += len(st.Entries)
	}
	return true
}

const maxLooked = 4 * index.SegmentEntries

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
			err = s.copies.Stat(ctx, st.Location)
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
			err = s.copies.Stat(ctx, loc)
			known[loc] = true
			if err == nil && s.copies.Suspect(ctx, loc) {
				err = fmt.Errorf("streamer: %s is damaged: %w", loc, fs.ErrNotExist)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
