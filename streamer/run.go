package streamer

import (
	"context"
	"iter"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/index"
)

// maxRun is the longest range that is verified and sent in one piece, in bytes.
// It is long enough to hide the cost of opening it, and short enough for the
// next run to be verified while this one is being sent.
const maxRun = 8 << 20

// run is CAR sections that stand one after the other in one location, or one
// block whose frame is not there.
type run struct {
	prefix   []byte // written first
	location index.Location
	off, n   int64
	entries  []index.Entry
}

// runs coalesces the selected entries.
func (s planSelection) runs(ctx context.Context, prefix []byte) iter.Seq2[*run, error] {
	return func(yield func(*run, error) bool) {
		cur := &run{prefix: prefix}
		for e, err := range s.entries(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			if cur.extend(e) {
				continue
			}
			if !cur.empty() && !yield(cur, nil) {
				return
			}
			next, err := begin(e)
			if err != nil {
				yield(nil, err)
				return
			}
			if cur.empty() {
				next.prefix = append(cur.prefix, next.prefix...)
			}
			cur = next
		}
		if !cur.empty() || len(cur.prefix) > 0 {
			yield(cur, nil)
		}
	}
}

func (r *run) empty() bool { return len(r.entries) == 0 }

// begin returns a run of one entry.
func begin(e placed) (*run, error) {
	r := &run{location: e.location, off: e.Offset - e.Head(), n: e.Section()}
	if !e.Framed {
		c, err := e.CID()
		if err != nil {
			return nil, err
		}
		r.prefix = car.AppendHead(nil, c, e.Size)
		r.off, r.n = e.Offset, e.Size
	}
	r.entries = append(r.entries, e.Entry)
	return r, nil
}

// extend adds e if its section stands right after the run.
func (r *run) extend(e placed) bool {
	if r.empty() || !e.Framed || !r.entries[0].Framed || e.location != r.location {
		return false
	}
	if e.Offset-e.Head() != r.off+r.n || r.n+e.Section() > maxRun {
		return false
	}
	r.n += e.Section()
	r.entries = append(r.entries, e.Entry)
	return true
}

// start is where the bytes that an entry adds to its run begin.
func start(e index.Entry) int64 {
	if e.Framed {
		return e.Offset - e.Head()
	}
	return e.Offset
}

// end is where they end.
func end(e index.Entry) int64 { return e.Offset + e.Size }

// appendSection appends the whole CAR section of a block.
func appendSection(b []byte, c cid.Cid, data []byte) []byte {
	return append(car.AppendHead(b, c, int64(len(data))), data...)
}
