package sections

import (
	"context"
	"iter"
	"sort"

	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/index"
)

// MaxRun is the longest range that is verified and sent in one piece, in bytes.
// It is long enough to hide the cost of opening it, and short enough for the
// next run to be verified while this one is being sent.
const MaxRun = 8 << 20

// Run is CAR sections that stand one after the other in one location, or blocks of a
// raw file whose frames are nowhere, or one such block of a pack.
type Run struct {
	Prefix   []byte // written first
	Location index.Location
	Off, N   int64 // the bytes of Location, N of them from Off
	// Bare tells that each block's frame must be written before it. It is set for
	// raw files alone; the one frame that a pack does not hold is in Prefix.
	Bare  bool
	parts [][]index.Entry // in order; none is empty
}

// Runs coalesces the selected entries.
func (s Selection) Runs(ctx context.Context, prefix []byte) iter.Seq2[*Run, error] {
	return func(yield func(*Run, error) bool) {
		cur := &Run{Prefix: prefix}
		for st, err := range s.Stretches(ctx) {
			for err == nil && len(st.Entries) > 0 {
				took := cur.extend(st)
				if took == 0 && !cur.Empty() {
					if !yield(cur, nil) {
						return
					}
					cur = &Run{}
				}
				if took == 0 {
					took, err = 1, cur.begin(st.Entries[0], st.Location)
				}
				st.Entries = st.Entries[took:]
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
		if !cur.Empty() || len(cur.Prefix) > 0 {
			yield(cur, nil)
		}
	}
}

// Empty reports whether there is nothing but a prefix.
func (r *Run) Empty() bool { return len(r.parts) == 0 }

// begin makes an entry the first of an empty run.
func (r *Run) begin(e index.Entry, loc index.Location) error {
	r.Location, r.Off, r.N = loc, e.Start(), e.End()-e.Start()
	r.parts = append(r.parts, []index.Entry{e})
	if r.Bare = loc.Path != "" && !e.Framed; r.Bare || e.Framed {
		return nil
	}
	c, err := e.CID()
	r.Prefix = car.AppendHead(r.Prefix, c, e.Size)
	return err
}

// extend adds the entries of st that fit if they stand right after the run, and
// returns how many it added.
func (r *Run) extend(st Stretch) int {
	if r.Empty() || st.Location != r.Location || st.Entries[0].Start() != r.Off+r.N {
		return 0
	}
	if st.Entries[0].Framed == r.Bare || !r.Bare && !r.parts[0][0].Framed {
		return 0
	}
	to := r.Off + MaxRun
	n := sort.Search(len(st.Entries), func(i int) bool { return st.Entries[i].End() > to })
	switch {
	case n > 0 && r.Bare: // they come one by one, and are read together
		r.parts[0] = append(r.parts[0], st.Entries[:n]...)
	case n > 0:
		r.parts = append(r.parts, st.Entries[:n])
	}
	if n > 0 {
		r.N = st.Entries[n-1].End() - r.Off
	}
	return n
}

// Batches yields the entries of the run in groups to be read and hashed together.
func (r *Run) Batches() iter.Seq[[]index.Entry] {
	return func(yield func([]index.Entry) bool) {
		for _, part := range r.parts {
			for len(part) > 0 {
				n := batchEnd(part)
				if !yield(part[:n]) {
					return
				}
				part = part[n:]
			}
		}
	}
}

// batch is the bytes that are read and hashed together at most, but for an entry
// that is longer.
const batch = 1 << 20

// batchEnd returns how many of the entries are in the first batch.
func batchEnd(entries []index.Entry) int {
	to := entries[0].Start() + batch
	return max(1, sort.Search(len(entries), func(i int) bool { return entries[i].End() > to }))
}
