package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/hashstream/hashstream/digest"
)

// pieceSize is how much of a draft is read back at a time. It is small enough to
// be hashed while it is still in the processor's cache.
const pieceSize = 256 << 10

// sealer hashes what is not hashed yet of full volumes and commits them, on
// goroutines of its own, as many as it has slots.
type sealer struct {
	concurrency int
	slots       chan []byte // each slot is a buffer
	running     sync.WaitGroup
	stopped     atomic.Bool
	ready       atomic.Bool // take has something

	mu   sync.Mutex
	done []sealed
	err  error
}

type sealed struct {
	n      int
	digest digest.Digest
	size   int64
}

var errStopped = errors.New("pack: writer was discarded")

func newSealer(concurrency int) *sealer {
	if concurrency <= 0 {
		concurrency = runtime.GOMAXPROCS(0)
	}
	s := &sealer{concurrency: concurrency, slots: make(chan []byte, concurrency)}
	for range concurrency {
		s.slots <- nil
	}
	return s
}

// start takes v over. It waits until a slot is free, so that drafts do not pile up
// when packs are filled faster than they are hashed.
func (s *sealer) start(ctx context.Context, v *volume) error {
	select {
	case buf := <-s.slots:
		s.running.Go(func() {
			d, err := s.seal(ctx, v, &buf)
			s.report(sealed{v.n, d, v.size}, err)
			s.slots <- buf
		})
		return nil
	case <-ctx.Done():
		v.draft.Discard()
		return fmt.Errorf("pack: commit pack %d: %w", v.n, ctx.Err())
	}
}

func (s *sealer) seal(ctx context.Context, v *volume, buf *[]byte) (digest.Digest, error) {
	defer v.draft.Discard()
	if *buf == nil {
		*buf = make([]byte, pieceSize)
	}
	d, err := s.sum(ctx, v, *buf)
	if err != nil {
		return d, err
	}
	if err := v.draft.Commit(ctx, Key(d)); err != nil {
		return d, fmt.Errorf("pack: commit %s: %w", d, err)
	}
	return d, nil
}

// sum returns the sha2-256 of the volume's draft, of which v.hashed bytes need not
// be read again.
func (s *sealer) sum(ctx context.Context, v *volume, buf []byte) (digest.Digest, error) {
	h := v.hash
	if h == nil {
		var err error
		if h, err = digest.NewHasher(digest.SHA256); err != nil {
			return digest.Digest{}, err
		}
	}
	for off := v.hashed; off < v.size; {
		if err := ctx.Err(); err != nil {
			return digest.Digest{}, fmt.Errorf("pack: hash pack %d: %w", v.n, err)
		}
		if s.stopped.Load() {
			return digest.Digest{}, errStopped
		}
		piece := buf[:min(int64(len(buf)), v.size-off)]
		if n, err := v.draft.ReadAt(piece, off); n < len(piece) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return digest.Digest{}, fmt.Errorf("pack: read pack %d back: %w", v.n, err)
		}
		h.Write(piece)
		off += int64(len(piece))
	}
	return h.Digest(), nil
}

func (s *sealer) report(done sealed, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.done = append(s.done, done)
	} else if s.err == nil {
		s.err = err
	}
	s.ready.Store(true)
}

// take returns what was committed since the last call, and the first error.
func (s *sealer) take() ([]sealed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := s.done
	s.done = nil
	s.ready.Store(s.err != nil)
	return done, s.err
}

func (s *sealer) wait() { s.running.Wait() }

// stop ends what is running. What is just being committed may still succeed.
func (s *sealer) stop() {
	s.stopped.Store(true)
	s.running.Wait()
}
