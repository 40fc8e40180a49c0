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
	"slices"
	"sync"

	"github.com/ipfs/go-cid"
	"golang.org/x/sync/semaphore"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
)

// ErrBad is matched by errors that asking again for the same entries will not change:
// they are malformed, or exceed a limit.
var ErrBad = errors.New("bad entries")

const (
	ahead      = 64                // decoded blocks that wait to be taken
	aheadBytes = 2 * ipni.MaxBlock // that they have
	parallel   = 3                 // blocks of a HAMT that are fetched at once
	restOften  = 1024              // blocks left, up to which it is told after each block which they are
	restSeldom = 64                // blocks after which it is told otherwise
	maxRest    = 1 << 16           // blocks left, of which it is told at all
)

// MaxMemory is the most that one stream holds, in bytes.
const MaxMemory = aheadBytes + (2+parallel)*ipni.MaxBlock

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
	// Rest is what another stream can begin with after this block, with Count; empty
	// if it cannot, or need not as this is the last.
	Rest  []cid.Cid
	Count Count // with this block

	size int64
}

// Stream is the blocks of one advertisement.
type Stream struct {
	fetch  func(context.Context, cid.Cid) ([]byte, error)
	limits Limits
	count  Count
	stop   context.CancelFunc
	blocks chan Block
	room   *semaphore.Weighted // bytes of blocks
	err    error               // set before blocks is closed
	done   sync.WaitGroup
	held   int // blocks that are or were fetched, and not visited yet
}

// Start begins to fetch what is left: the root of the entries, or the Rest of another stream, which
// comes after what count counts. The stream must be closed.
func Start(ctx context.Context, left []cid.Cid, count Count, limits Limits, fetch func(context.Context, cid.Cid) ([]byte, error)) *Stream {
	ctx, stop := context.WithCancel(ctx)
	s := &Stream{
		fetch: fetch, limits: limits, count: count, stop: stop, blocks: make(chan Block, ahead), room: semaphore.NewWeighted(aheadBytes),
	}
	s.done.Go(func() {
		defer close(s.blocks)
		s.err = s.run(ctx, left)
	})
	return s
}

// All yields the blocks once, or an error after those that were good. wait, if it is not nil, is
// called when there is none yet, and what it returns when there is.
func (s *Stream) All(wait func() (done func())) iter.Seq2[Block, error] {
	return func(yield func(Block, error) bool) {
		for {
			b, ok := s.next(wait)
			if !ok {
				break
			}
			s.room.Release(b.size)
			if !yield(b, nil) {
				return
			}
		}
		if s.err != nil {
			yield(Block{}, s.err)
		}
	}
}

func (s *Stream) next(wait func() func()) (b Block, ok bool) {
	select {
	case b, ok = <-s.blocks:
		return b, ok
	default:
	}
	if wait != nil {
		defer wait()()
	}
	b, ok = <-s.blocks
	return b, ok
}

// Stop ends the fetches. What was fetched before is still yielded, then an error.
func (s *Stream) Stop() { s.stop() }

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
func (s *Stream) run(ctx context.Context, left []cid.Cid) error {
	todo := make([]*pending, 0, len(left)) // the next one is the last
	seen := map[cid.Cid]struct{}{}
	for _, c := range slices.Backward(left) {
		todo = append(todo, &pending{cid: c})
		seen[c] = struct{}{}
	}
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
			return fmt.Errorf("entries: %w", err)
		}
		for i := len(todo) - 1; i >= 0 && s.held < parallel; i-- {
			s.begin(ctx, todo[i])
		}
		b := Block{Entries: e, Count: s.count, size: min(int64(len(p.block)), aheadBytes)}
		if n := len(todo); n <= restOften || n <= maxRest && s.count.Blocks%restSeldom == 0 {
			b.Rest = rest(todo)
		}
		if err := s.room.Acquire(ctx, b.size); err != nil {
			return context.Cause(ctx)
		}
		select {
		case s.blocks <- b:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// rest returns what is left, the next one first.
func rest(todo []*pending) []cid.Cid {
	var left []cid.Cid
	for _, p := range slices.Backward(todo) {
		left = append(left, p.cid)
	}
	return left
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
	open := []byte(`"Next":{"/":"`)
	i := bytes.LastIndex(tail, open)
	if i < 0 {
		return cid.Undef
	}
	text, ok := bytes.CutSuffix(bytes.TrimSpace(tail[i+len(open):]), []byte(`"}}`))
	if !ok {
		return cid.Undef
	}
	next, err := cid.Decode(string(text))
	if err != nil {
		return cid.Undef
	}
	return next
}
