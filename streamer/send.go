package streamer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

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

// Send verifies runs ahead of the one that is being sent.
func (b *planBody) Send(ctx context.Context, w io.Writer) (int64, error) {
	if b.exact && b.size <= maxRun {
		return b.sendRuns(ctx, w, b.prepared(ctx)) // too little to do it side by side
	}
	ctx, cancel := context.WithCancel(ctx)
	ready := make(chan chan readyRun, 1) // in order; each gets one value
	var workers sync.WaitGroup
	defer workers.Wait()
	defer func() { // what was prepared and not sent
		for next := range ready {
			closePieces((<-next).pieces)
		}
	}()
	defer cancel()
	workers.Go(func() {
		defer close(ready)
		for r, err := range b.sel.runs(ctx, b.prefix) {
			next := make(chan readyRun, 1)
			if err != nil {
				next <- readyRun{err: err}
			} else {
				workers.Go(func() {
					pieces, err := b.s.prepare(ctx, r)
					next <- readyRun{pieces, err}
				})
			}
			select {
			case ready <- next:
			case <-ctx.Done():
				closePieces((<-next).pieces)
				return
			}
		}
	})
	return b.sendRuns(ctx, w, func(yield func([]piece, error) bool) {
		for next := range ready {
			if r := <-next; !yield(r.pieces, r.err) {
				return
			}
		}
	})
}

// prepared yields the runs, ready to be sent. It stops after the first error.
func (b *planBody) prepared(ctx context.Context) iter.Seq2[[]piece, error] {
	return func(yield func([]piece, error) bool) {
		for r, err := range b.sel.runs(ctx, b.prefix) {
			var pieces []piece
			if err == nil {
				pieces, err = b.s.prepare(ctx, r)
			}
			if !yield(pieces, err) || err != nil {
				return
			}
		}
	}
}

func (b *planBody) sendRuns(ctx context.Context, w io.Writer, runs iter.Seq2[[]piece, error]) (int64, error) {
	var sent int64
	for pieces, err := range runs {
		if err != nil {
			return sent, err
		}
		n, err := b.s.sendPieces(ctx, w, pieces)
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

// piece is bytes that may be sent: in memory, verified in an open object, or
// those of a run that is verified while it is sent.
type piece struct {
	data []byte
	obj  blob.Object
	n    int64 // bytes of obj
	run  *run  // not verified yet
	err  error // why there is no obj to read the run from
}

func closePieces(ps []piece) {
	for _, p := range ps {
		if p.obj != nil {
			p.obj.Close()
		}
	}
}

func (s *Streamer) sendPieces(ctx context.Context, w io.Writer, ps []piece) (int64, error) {
	defer closePieces(ps)
	var sent int64
	for _, p := range ps {
		n, err := s.sendPiece(ctx, w, p)
		sent += n
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

func (s *Streamer) sendPiece(ctx context.Context, w io.Writer, p piece) (int64, error) {
	switch {
	case p.run != nil:
		return s.sendChecked(ctx, w, p)
	case p.obj == nil:
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
// It is verified batch by batch while it is sent if the store cannot cheaply be
// read twice, or if some of its blocks must come from other copies.
func (s *Streamer) prepare(ctx context.Context, r *run) ([]piece, error) {
	if r.empty() {
		return []piece{{data: r.prefix}}, nil
	}
	obj, err := s.open(ctx, r)
	if err != nil {
		return []piece{{run: r, err: err}}, ctx.Err()
	}
	ok, err := s.sendable(ctx, obj, r)
	if err != nil {
		obj.Close()
		return nil, err
	}
	p := piece{obj: obj, n: r.n}
	if !ok {
		p.run = r
		return []piece{p}, nil
	}
	if len(r.prefix) > 0 {
		return []piece{{data: r.prefix}, p}, nil
	}
	return []piece{p}, nil
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
	if s.trusted(ctx, r.location, key, version, r.off, r.n) {
		return true, nil
	}
	whole, err := s.verify(ctx, key, version, r)
	if err != nil || !whole {
		return false, err
	}
	s.verified.Add(key, version, r.off, r.n)
	return true, nil
}

// sendChecked sends a run through memory, a batch at a time. A block that is bad in
// p's object, or every block if there is none, comes from another copy. Nothing is
// written before the first batch is right.
func (s *Streamer) sendChecked(ctx context.Context, w io.Writer, p piece) (int64, error) {
	out := &prefixWriter{w: w, prefix: p.run.prefix}
	entries := p.run.entries
	for from := 0; from < len(entries); {
		to := batchEnd(entries, from)
		if err := s.sendBatch(ctx, out, &p, entries[from:to]); err != nil {
			return out.sent, err
		}
		from = to
	}
	return out.sent, nil
}

// sendBatch reads the next entries from p, and notes if no more can be read.
func (s *Streamer) sendBatch(ctx context.Context, w io.Writer, p *piece, entries []index.Entry) error {
	at := start(entries[0])
	buf := s.buffers.get(end(entries[len(entries)-1]) - at)
	defer s.buffers.Put(buf)
	have := 0
	if p.err == nil {
		have, p.err = io.ReadFull(p.obj, *buf)
	}
	for _, e := range entries {
		section := (*buf)[start(e)-at : end(e)-at]
		wrong := p.err
		if end(e)-at <= int64(have) {
			wrong = s.checkEntry(ctx, p.run.location, e, section)
		}
		if wrong == nil {
			continue
		}
		if err := s.repair(ctx, e, section, wrong); err != nil {
			return err
		}
	}
	_, err := w.Write(*buf)
	return err
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
