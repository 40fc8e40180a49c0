package streamer

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
)

// batch is entries that are read and hashed together, in bytes.
const batch = 1 << 20

// verify hashes every section of r on all cores and reports whether all are right.
func (s *Streamer) verify(ctx context.Context, key, version string, r *run) (bool, error) {
	var bad atomic.Bool
	var workers sync.WaitGroup
	defer workers.Wait()
	for from := 0; from < len(r.entries); {
		to := batchEnd(r.entries, from)
		select {
		case s.hashing <- struct{}{}:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		entries := r.entries[from:to]
		workers.Go(func() {
			defer func() { <-s.hashing }()
			if !s.verifyBatch(ctx, key, version, r.location, entries) {
				bad.Store(true)
			}
		})
		from = to
	}
	workers.Wait()
	return !bad.Load(), ctx.Err()
}

// batchEnd returns the end of the batch that begins with entry from.
func batchEnd(entries []index.Entry, from int) int {
	n := end(entries[from]) - start(entries[from])
	to := from + 1
	for to < len(entries) && n+entries[to].Section() <= batch {
		n += entries[to].Section()
		to++
	}
	return to
}

// buffers hold batches while they are hashed: few, for hashing is bounded by
// the number of cores.
type buffers struct{ sync.Pool }

func (p *buffers) get(n int64) *[]byte {
	b, ok := p.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	if int64(cap(*b)) < n {
		*b = make([]byte, n)
	}
	*b = (*b)[:n]
	return b
}

// verifyBatch hashes entries that stand together in a version of an object and
// reports whether all are right.
func (s *Streamer) verifyBatch(ctx context.Context, key, version string, loc index.Location, entries []index.Entry) bool {
	from := start(entries[0])
	n := end(entries[len(entries)-1]) - from
	buf := s.buffers.get(n)
	defer s.buffers.Put(buf)
	obj, err := s.packs.Get(ctx, key, from, n)
	if err != nil {
		return false
	}
	defer obj.Close()
	if obj.Info().Version != version { // what will be sent are other bytes
		return false
	}
	if _, err := io.ReadFull(obj, *buf); err != nil {
		return false
	}
	whole := true
	for _, e := range entries {
		if s.checkEntry(ctx, loc, e, (*buf)[start(e)-from:end(e)-from]) != nil {
			whole = false
		}
	}
	return whole
}

// checkEntry verifies the bytes that loc holds for e, and reports them if they are bad.
func (s *Streamer) checkEntry(ctx context.Context, loc index.Location, e index.Entry, section []byte) error {
	if s.o.Verify == VerifyNever && !s.suspects.has(ctx, s.index, loc) {
		return nil
	}
	d, err := checkSection(e, section)
	if s.o.Trace.Verified != nil {
		s.o.Trace.Verified(1, e.Size, err)
	}
	return s.distrust(ctx, d, loc, err)
}

// checkSection verifies the frame, if there is one, and the block of an entry.
func checkSection(e index.Entry, section []byte) (digest.Digest, error) {
	c, err := e.CID()
	if err != nil {
		return digest.Digest{}, err
	}
	d, err := digest.FromCID(c)
	if err != nil {
		return digest.Digest{}, err
	}
	head := int64(len(section)) - e.Size
	if err := d.Verify(section[head:]); err != nil {
		return d, err
	}
	if e.Framed && string(section[:head]) != string(car.AppendHead(nil, c, e.Size)) {
		return d, errFrame
	}
	return d, nil
}

// errFrame reports a block that is right behind a frame that is wrong.
var errFrame = errors.New("damaged CAR frame")
