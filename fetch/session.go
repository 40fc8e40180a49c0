package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
)

// maxUseless is how many demands in a row a stream with a full buffer may leave
// unanswered before it is given up.
const maxUseless = 32

// Session is the fetch of one selection. It is a [block.Source] for a traversal
// that demands the blocks in depth-first order, as those of package dag do.
type Session struct {
	c    *Client
	what string // the root

	mu        sync.Mutex
	stream    *stream // nil if there is none any more
	buf       *buffer
	fault     error // why the stream was given up, or could not be had
	size      int64 // announced length of the stream, or -1
	useless   int   // demands that the stream left unanswered since its last use
	skipped   int64 // bytes that were passed over since its last use
	delivered bool  // at least one block was
}

var _ block.Source = (*Session)(nil)

// Open starts fetching sel as one stream, from the first gateway that answers.
// sel.Dups says how the traversal will demand blocks: each as often as it occurs
// (files being written), or each once. If no gateway gives CARs, the session works
// block by block. ctx bounds the whole session, which must be closed.
func (c *Client) Open(ctx context.Context, sel block.Selection) (*Session, error) {
	root, err := digest.FromCID(sel.Root)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	if _, _, _, err := request(sel); err != nil {
		return nil, fmt.Errorf("fetch: get %s: %w", sel.Root, err)
	}
	s := &Session{c: c, what: sel.Root.String(), buf: newBuffer(c.o.Buffer), size: -1}
	if _, inline := root.Inline(); inline {
		return s, nil // what it links to, if anything, has to be asked for singly
	}
	err = c.each(ctx, s.what, func(g *server) error {
		var err error
		s.stream, err = c.openStream(ctx, g, sel)
		return err
	})
	if err == nil {
		s.size = s.stream.body.size
		return s, nil
	}
	var all *failure
	if !errors.As(err, &all) || len(filter(all.errs, blockwise)) == 0 {
		return nil, err
	}
	if integrity(err) {
		s.fault = err
	}
	return s, nil
}

// Size returns the length in bytes that the gateway announced for its stream, and
// whether it did. It is a hint for a progress bar, not a fact.
func (s *Session) Size() (int64, bool) { return s.size, s.size >= 0 }

// Close ends the stream. Blocks that were not taken are dropped.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = newBuffer(s.c.o.Buffer)
	if s.stream == nil {
		return nil
	}
	st := s.stream
	s.stream = nil
	return st.close()
}

// Blocks yields the one verified block of d: from the stream, from what it sent
// before, or by a request of its own.
func (s *Session) Blocks(ctx context.Context, d digest.Digest) iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		data, err := s.block(ctx, d)
		if err != nil {
			yield(block.Block{}, err)
			return
		}
		yield(newBlock(d, data), nil)
	}
}

func (s *Session) block(ctx context.Context, d digest.Digest) ([]byte, error) {
	if inline, ok := d.Inline(); ok {
		return inline, nil
	}
	if err := d.Verify(nil); errors.Is(err, digest.ErrUnsupported) {
		return nil, fmt.Errorf("fetch: get %s: %w", d, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok, err := s.streamed(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("fetch: get %s: %w", d, err)
	}
	if !ok {
		if data, err = s.c.raw(ctx, d); err != nil {
			return nil, s.incomplete(ctx, err)
		}
		s.buf.fetched(d, data)
	}
	s.delivered = true
	return data, nil
}

// streamed looks for d in the buffer, then in the stream as far as the buffer has
// room for what comes before d. Its error is the end of ctx, nothing else.
func (s *Session) streamed(ctx context.Context, d digest.Digest) ([]byte, bool, error) {
	if data, fresh, ok := s.buf.take(d); ok {
		s.used(d, data, fresh)
		return data, true, nil
	}
	for s.stream != nil {
		if !s.buf.room() {
			if s.useless++; s.useless > maxUseless {
				s.giveUp(ErrHostile)
			}
			return nil, false, nil
		}
		got, err := s.stream.section(ctx, s.c.o.BlockTimeout)
		switch {
		case ctx.Err() != nil:
			return nil, false, context.Cause(ctx)
		case err == io.EOF:
			s.end()
		case err != nil:
			s.giveUp(err)
		case got.name != d:
			s.keep(got.name, got.data)
		default:
			if err := d.Verify(got.data); err != nil {
				s.giveUp(err)
				break
			}
			s.buf.claim(d, got.data)
			s.used(d, got.data, true)
			return got.data, true, nil
		}
	}
	return nil, false, nil
}

// keep stores a block that is not the one demanded, if it may be demanded later.
func (s *Session) keep(d digest.Digest, data []byte) {
	if s.skipped += int64(len(data)) + overhead; s.skipped > 4*s.c.o.Buffer {
		s.giveUp(ErrHostile)
		return
	}
	if _, inline := d.Inline(); inline || s.buf.has(d) {
		return
	}
	err := d.Verify(data)
	switch {
	case errors.Is(err, digest.ErrUnsupported):
		return // nobody can demand it
	case err != nil:
		s.giveUp(err)
	default:
		s.buf.put(d, data)
	}
}

// used records that the stream was of use.
func (s *Session) used(d digest.Digest, data []byte, fresh bool) {
	s.delivered = true
	if fresh {
		s.useless, s.skipped = 0, 0
		s.c.o.Trace.Block(d, len(data))
	}
}

// end closes a stream that came to its end. That it lacked a block is no fault:
// others may have it, and the demand for it says so.
func (s *Session) end() {
	s.stream.close()
	s.stream = nil
}

// giveUp closes a stream that broke and turns to the next gateway.
func (s *Session) giveUp(why error) {
	from := s.stream.from
	s.end()
	s.fault = fmt.Errorf("stream from %s: %w", from, why)
	s.c.o.Trace.Fallback(from.String(), why)
	s.c.distrust(from)
}

// incomplete says what it means that a block could not be had.
func (s *Session) incomplete(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	if !s.delivered && (s.fault == nil || absent(err) && !errors.Is(s.fault, digest.ErrMismatch)) {
		return err // nothing was there but, perhaps, the beginning of a stream
	}
	causes := []error{err}
	if s.fault != nil {
		causes = []error{s.fault, err}
	}
	return &partial{what: "get " + s.what, causes: causes}
}
