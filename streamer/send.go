package streamer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
)

// planBody is CAR sections whose places are known.
type planBody struct {
	s      *Streamer
	sel    planSelection
	prefix []byte
	size   int64
	exact  bool
}

func (b *planBody) Size() (int64, bool) { return b.size, b.exact }
func (b *planBody) Variant() string     { return b.sel.variant() }

// Send verifies one run ahead of the one that is being sent.
func (b *planBody) Send(ctx context.Context, w io.Writer) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	ready := make(chan readyRun)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	workers.Go(func() {
		defer close(ready)
		for r, err := range b.sel.runs(ctx, b.prefix) {
			next := readyRun{err: err}
			if err == nil {
				next.pieces, next.err = b.s.prepare(ctx, r)
			}
			select {
			case ready <- next:
			case <-ctx.Done():
				closePieces(next.pieces)
				return
			}
			if next.err != nil {
				return
			}
		}
	})
	var sent int64
	for r := range ready {
		if r.err != nil {
			return sent, r.err
		}
		n, err := sendPieces(w, r.pieces)
		sent += n
		if err != nil {
			return sent, err
		}
	}
	return sent, ctx.Err()
}

// readyRun is a run that may be sent.
type readyRun struct {
	pieces []piece
	err    error
}

// piece is verified bytes: in memory, or in an open object.
type piece struct {
	data []byte
	obj  blob.Object
	n    int64 // bytes of obj
}

func closePieces(ps []piece) {
	for _, p := range ps {
		if p.obj != nil {
			p.obj.Close()
		}
	}
}

func sendPieces(w io.Writer, ps []piece) (int64, error) {
	defer closePieces(ps)
	var sent int64
	for _, p := range ps {
		n, err := p.send(w)
		sent += n
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

func (p piece) send(w io.Writer) (int64, error) {
	if p.obj == nil {
		n, err := w.Write(p.data)
		return int64(n), err
	}
	n, err := p.obj.(io.WriterTo).WriteTo(w)
	if err == nil && n != p.n {
		err = fmt.Errorf("streamer: %s became shorter: %w", p.obj.Info().Key, io.ErrUnexpectedEOF)
	}
	return n, err
}

// prepare makes a run ready to be sent: opened, and verified if it was not yet.
// It passes through memory if the store cannot cheaply be read twice, or if some
// of its blocks must come from other copies.
func (s *Streamer) prepare(ctx context.Context, r *run) ([]piece, error) {
	var pieces []piece
	if len(r.prefix) > 0 {
		pieces = append(pieces, piece{data: r.prefix})
	}
	if r.empty() {
		return pieces, nil
	}
	obj, err := s.open(ctx, r)
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	if err == nil {
		ok, err := s.sendable(ctx, obj, r)
		if ok {
			return append(pieces, piece{obj: obj, n: r.n}), nil
		}
		defer obj.Close()
		if err != nil {
			return nil, err
		}
	}
	data, err := s.load(ctx, obj, err, r)
	if err != nil {
		return nil, err
	}
	return append(pieces, piece{data: data}), nil
}

func (s *Streamer) open(ctx context.Context, r *run) (blob.Object, error) {
	key, err := s.key(r.location)
	if err != nil {
		return nil, err
	}
	return s.packs.Get(ctx, key, r.off, r.n)
}

// sendable reports whether obj can be sent without passing through memory,
// because every section of r in it is verified, now or before.
func (s *Streamer) sendable(ctx context.Context, obj blob.Object, r *run) (bool, error) {
	if _, ok := obj.(io.WriterTo); !ok {
		return false, nil
	}
	key, version := obj.Info().Key, obj.Info().Version
	if s.trusted(key, version, r.off, r.n) {
		return true, nil
	}
	whole, err := s.verify(ctx, key, r)
	if err != nil || !whole {
		return false, err
	}
	s.verified.add(key, version, r.off, r.n)
	return true, nil
}

// load returns the bytes of a run, verified. A block that is bad in obj, or every
// block if obj could not be opened, comes from another copy.
func (s *Streamer) load(ctx context.Context, obj blob.Object, failed error, r *run) ([]byte, error) {
	data := make([]byte, r.n)
	have := 0
	if failed == nil {
		have, failed = io.ReadFull(obj, data)
	}
	for _, e := range r.entries {
		section := data[start(e)-r.off : end(e)-r.off]
		wrong := failed
		if end(e)-r.off <= int64(have) {
			wrong = s.checkEntry(ctx, r.location, e, section)
		}
		if wrong != nil {
			if err := s.repair(ctx, e, section, wrong); err != nil {
				return nil, err
			}
		}
	}
	return data, nil
}

// repair makes the section of an entry right: from the plan if only its frame is
// damaged, else from another copy of the block.
func (s *Streamer) repair(ctx context.Context, e index.Entry, section []byte, wrong error) error {
	c, err := e.CID()
	if err != nil {
		return err
	}
	if !errors.Is(wrong, errFrame) {
		b, err := s.entryCopy(ctx, e, wrong)
		if err != nil {
			return err
		}
		copy(section[int64(len(section))-e.Size:], b.Data)
	}
	if e.Framed {
		copy(section, car.AppendHead(nil, c, e.Size))
	}
	return nil
}

// entryCopy returns the block of an entry from a copy elsewhere.
func (s *Streamer) entryCopy(ctx context.Context, e index.Entry, failed error) (block.Block, error) {
	c, err := e.CID()
	if err != nil {
		return block.Block{}, err
	}
	d, err := digest.FromCID(c)
	if err != nil {
		return block.Block{}, err
	}
	data, err := s.otherCopy(ctx, d, failed)
	if err == nil && int64(len(data)) != e.Size {
		err = fmt.Errorf("streamer: plan says %d bytes of %s: %w", e.Size, c, index.ErrCorrupt)
	}
	return block.Block{CID: c, Data: data}, err
}

// batch is entries that are read and hashed together, in bytes.
const batch = 1 << 20

// verify hashes every section of r on all cores and reports whether all are right.
func (s *Streamer) verify(ctx context.Context, key string, r *run) (bool, error) {
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
			if !s.verifyBatch(ctx, key, r.location, entries) {
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

// verifyBatch hashes entries that stand together and reports whether all are right.
func (s *Streamer) verifyBatch(ctx context.Context, key string, loc index.Location, entries []index.Entry) bool {
	from := start(entries[0])
	n := end(entries[len(entries)-1]) - from
	buf := s.buffers.get(n)
	defer s.buffers.Put(buf)
	obj, err := s.packs.Get(ctx, key, from, n)
	if err != nil {
		return false
	}
	defer obj.Close()
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
	if s.o.Verify == VerifyNever {
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

var _ block.Body = (*planBody)(nil)
