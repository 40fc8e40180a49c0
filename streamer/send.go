package streamer

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/streamer/sections"
)

// planBody is CAR sections whose places are known.
type planBody struct {
	s      *Streamer
	sel    sections.Selection
	prefix []byte
	size   int64
	exact  bool
}

func (b *planBody) Size() (int64, bool) { return b.size, b.exact }
func (b *planBody) Variant() string     { return variant + b.sel.Variant() }

// Send sends runs that were verified before one after the other, as long as there
// are such. From the first other run on it prepares runs while it sends: where
// there is nothing to hash, a second goroutine takes more than it gives.
func (b *planBody) Send(ctx context.Context, w io.Writer) (int64, error) {
	if b.exact && b.size <= sections.MaxRun {
		return b.sendRuns(ctx, w, b.prepared(ctx)) // too little to do it side by side
	}
	next, stop := iter.Pull2(b.sel.Runs(ctx, b.prefix))
	defer stop()
	var first *sections.Run
	sent, err := b.sendRuns(ctx, w, func(yield func([]piece, error) bool) {
		for {
			r, err, ok := next()
			if !ok {
				return
			}
			var pieces []piece
			if err == nil {
				pieces = b.s.trustedPieces(ctx, r)
			}
			if err == nil && pieces == nil {
				first = r
				return
			}
			if !yield(pieces, err) {
				return
			}
		}
	})
	if err != nil || first == nil {
		return sent, err
	}
	n, err := b.sendAhead(ctx, w, first, next)
	return sent + n, err
}

// sendAhead sends a run and those that next gives, each of which is prepared, and
// so verified, while others are sent.
func (b *planBody) sendAhead(ctx context.Context, w io.Writer, r *sections.Run, next func() (*sections.Run, error, bool)) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	ready := make(chan chan readyRun, 1) // in order; each gets one value
	var workers sync.WaitGroup
	defer workers.Wait()
	defer func() { // what was prepared and not sent
		for one := range ready {
			closePieces((<-one).pieces)
		}
	}()
	defer cancel()
	workers.Go(func() {
		defer close(ready)
		var err error
		for ok := true; ok; r, err, ok = next() {
			one := make(chan readyRun, 1)
			if err != nil {
				one <- readyRun{err: err}
			} else {
				this := r
				workers.Go(func() {
					pieces, err := b.s.prepare(ctx, this)
					one <- readyRun{pieces, err}
				})
			}
			select {
			case ready <- one:
			case <-ctx.Done():
				closePieces((<-one).pieces)
				return
			}
		}
	})
	return b.sendRuns(ctx, w, func(yield func([]piece, error) bool) {
		for one := range ready {
			if r := <-one; !yield(r.pieces, r.err) {
				return
			}
		}
	})
}

// prepared yields the runs, ready to be sent. It stops after the first error.
func (b *planBody) prepared(ctx context.Context) iter.Seq2[[]piece, error] {
	return func(yield func([]piece, error) bool) {
		for r, err := range b.sel.Runs(ctx, b.prefix) {
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
// those of a run that pass through memory.
type piece struct {
	data    []byte
	obj     blob.Object
	n       int64         // bytes of obj
	run     *sections.Run // copied, and verified meanwhile unless it is trusted
	trusted bool
	err     error // why there is no obj to read the run from
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
		return s.sendCopied(ctx, w, p)
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
func (s *Streamer) prepare(ctx context.Context, r *sections.Run) ([]piece, error) {
	if r.Empty() {
		return []piece{{data: r.Prefix}}, nil
	}
	obj, err := s.copies.Get(ctx, r.Location, r.Off, r.N)
	if err != nil {
		return []piece{{run: r, err: err}}, ctx.Err()
	}
	ok, err := s.sendable(ctx, obj, r)
	if err != nil {
		obj.Close()
		return nil, err
	}
	if !ok {
		return []piece{{run: r, obj: obj, n: r.N}}, nil
	}
	return trustedRun(r, obj), nil
}

// trustedPieces is prepare for a run that was verified before and is at hand, and nil
// for others.
func (s *Streamer) trustedPieces(ctx context.Context, r *sections.Run) []piece {
	if r.Empty() {
		return []piece{{data: r.Prefix}}
	}
	obj, err := s.copies.Get(ctx, r.Location, r.Off, r.N)
	if err != nil {
		return nil
	}
	if !near(obj) || !s.copies.Trusted(ctx, r.Location, obj, r.Off, r.N) {
		obj.Close()
		return nil
	}
	return trustedRun(r, obj)
}

// near reports whether obj is read cheaply and more than once: it is a file or in
// memory. What comes over a network is opened while other things are sent.
func near(obj blob.Object) bool {
	switch obj.(type) {
	case io.WriterTo, blob.Rechecker:
		return true
	}
	return false
}

// trustedRun is what to send of a run, all of which is right in obj.
func trustedRun(r *sections.Run, obj blob.Object) []piece {
	if _, ok := obj.(io.WriterTo); !ok || r.Bare {
		return []piece{{run: r, obj: obj, n: r.N, trusted: true}}
	}
	p := piece{obj: obj, n: r.N}
	if len(r.Prefix) > 0 {
		return []piece{{data: r.Prefix}, p}
	}
	return []piece{p}
}

// sendable reports whether obj can be sent without being hashed while it is sent,
// because every section of r in it is verified, now or before.
func (s *Streamer) sendable(ctx context.Context, obj blob.Object, r *sections.Run) (bool, error) {
	if s.copies.Trusted(ctx, r.Location, obj, r.Off, r.N) {
		return true, nil
	}
	version := obj.Info().Version
	if !near(obj) || version == "" {
		return false, nil
	}
	whole, err := s.copies.Verify(ctx, version, r)
	if err != nil || !whole {
		return false, err
	}
	s.copies.Remember(r.Location, version, r.Off, r.N)
	return true, nil
}
