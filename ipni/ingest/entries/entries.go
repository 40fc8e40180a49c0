// Package entries fetches the multihashes of an advertisement: the blocks of a list of
// chunks or of a HAMT, each of them fetched while those before it are decoded and
// stored.
//
// # Errors
//
// Malformed blocks and limits exceeded match [ErrBad] and [digest.ErrMismatch]. The
// errors of the fetch are passed on.
//
// A Stream is used by one goroutine.
package entries

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
)

// ErrBad is matched by errors that asking again for the same entries will not change:
// they are malformed, or exceed a limit.
var ErrBad = errors.New("bad entries")

const (
	ahead    = 2 // decoded blocks that wait to be taken
	parallel = 3 // blocks of a HAMT that are fetched at once
)

// MaxMemory is the most that one stream holds, in bytes.
const MaxMemory = (ahead + 2 + parallel) * ipni.MaxBlock

// Count is how much of an advertisement was read.
type Count struct {
	Blocks, Multihashes, Bytes uint64
}

// Limits bound what one advertisement may hold. Zero is no limit.
type Limits Count

// exceeded returns an error if c is above l.
func (l Limits) exceeded(c Count) error {
	for _, x := range []struct {
		what       string
		have, most uint64
	}{{"blocks", c.Blocks, l.Blocks}, {"multihashes", c.Multihashes, l.Multihashes}, {"bytes", c.Bytes, l.Bytes}} {
		if x.most != 0 && x.have > x.most {
			return fmt.Errorf("%w: more than %d %s: %w", ErrBad, x.most, x.what, digest.ErrMismatch)
		}
	}
	return nil
}

// Block is what one block of entries holds.
type Block struct {
	ad.Entries
	// Resume is where another stream can go on after this block, with Count; cid.Undef
	// if it cannot, or need not as this is the last.
	Resume cid.Cid
	Count  Count // with this block
}

// Stream is the blocks of one advertisement.
type Stream struct {
	fetch  func(context.Context, cid.Cid) ([]byte, error)
	limits Limits
	count  Count
	stop   context.CancelFunc
	blocks chan Block
	err    error // set before blocks is closed
	done   sync.WaitGroup
	held   int // blocks that are or were fetched, and not visited yet
}

// Start begins to fetch from root, which comes after what count counts. The stream
// must be closed.
func Start(ctx context.Context, root cid.Cid, count Count, limits Limits, fetch func(context.Context, cid.Cid) ([]byte, error)) *Stream {
	ctx, stop := context.WithCancel(ctx)
	s := &Stream{fetch: fetch, limits: limits, count: count, stop: stop, blocks: make(chan Block, ahead)}
	s.done.Go(func() {
		defer close(s.blocks)
		s.err = s.run(ctx, root)
	})
	return s
}

// All yields the blocks once, or an error after those that were good.
func (s *Stream) All() iter.Seq2[Block, error] {
	return func(yield func(Block, error) bool) {
		for b := range s.blocks {
			if !yield(b, nil) {
				return
			}
		}
		if s.err != nil {
			yield(Block{}, s.err)
		}
	}
}

// Close stops the fetches and waits for them.
func (s *Stream) Close() {
	s.stop()
	s.done.Wait()
}

// pending is a block that is being fetched.
type pending struct {
	cid   cid.Cid
	ready chan struct{} // nil if the fetch has not begun
	block []byte
	err   error
}

func (s *Stream) begin(ctx context.Context, p *pending) {
	if p.ready != nil {
		return
	}
	ready := make(chan struct{})
	p.ready = ready
	s.held++
	s.done.Go(func() {
		defer close(ready)
		p.block, p.err = s.fetch(ctx, p.cid)
	})
}

// run visits the blocks depth-first, each once.
func (s *Stream) run(ctx context.Context, root cid.Cid) error {
	todo := []*pending{{cid: root}} // the next one is the last
	seen := map[cid.Cid]struct{}{root: {}}
	for len(todo) > 0 {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		s.begin(ctx, p)
		s.held--
		if err := wait(ctx, p); err != nil {
			return err
		}
		hint := s.hint(ctx, p, seen, len(todo))
		e, err := ad.DecodeEntries(p.cid, p.block)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBad, err)
		}
		s.count.Blocks++
		s.count.Multihashes += uint64(e.Count)
		s.count.Bytes += uint64(len(p.block))
		for i := len(e.Links) - 1; i >= 0; i-- {
			next := e.Links[i]
			if _, again := seen[next]; again {
				continue
			}
			seen[next] = struct{}{}
			if hint != nil && hint.cid == next {
				todo = append(todo, hint)
				hint = nil
			} else {
				todo = append(todo, &pending{cid: next})
			}
		}
		if hint != nil { // it was none
			s.held--
		}
		known := s.count
		known.Blocks += uint64(len(todo))
		if err := s.limits.exceeded(known); err != nil {
			return fmt.Errorf("entries: %s: %w", root, err)
		}
		for i := len(todo) - 1; i >= 0 && s.held < parallel; i-- {
			s.begin(ctx, todo[i])
		}
		b := Block{Entries: e, Count: s.count}
		if len(todo) == 1 && len(e.Links) == 1 {
			b.Resume = todo[0].cid
		}
		select {
		case s.blocks <- b:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func wait(ctx context.Context, p *pending) error {
	select {
	case <-p.ready:
		return p.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// hint begins to fetch what seems to be the next chunk, before this one is decoded:
// whether it is, is seen then. No hint is taken that the limits would refuse.
func (s *Stream) hint(ctx context.Context, p *pending, seen map[cid.Cid]struct{}, todo int) *pending {
	next := peekNext(p.block)
	if _, again := seen[next]; !next.Defined() || again || todo > 0 {
		return nil
	}
	count := s.count
	count.Blocks += 2
	if s.limits.exceeded(count) != nil {
		return nil
	}
	h := &pending{cid: next}
	s.begin(ctx, h)
	return h
}

// peekNext returns the link at the end of a chunk in dag-json, if there seems to be one.
func peekNext(block []byte) cid.Cid {
	tail := block[max(0, len(block)-160):]
	const open = `"Next":{"/":"`
	i := bytes.LastIndex(tail, []byte(open))
	text, ok := bytes.CutSuffix(bytes.TrimSpace(tail[max(0, i):]), []byte(`"}}`))
	if i < 0 || !ok {
		return cid.Undef
	}
	next, err := cid.Decode(string(text[len(open):]))
	if err != nil {
		return cid.Undef
	}
	return next
}
