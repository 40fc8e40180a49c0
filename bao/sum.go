package bao

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"runtime"
	"sync"

	"lukechampine.com/blake3/guts"

	"github.com/hashstream/hashstream/digest"
)

// pieceGroups is how many groups are hashed at a time: 1 MiB.
const pieceGroups = 64

// Sink takes a parent node. The node is valid during the call. An error ends the
// hashing and is returned.
//
// Nodes come in this order: all of an aligned run of 64^k groups before any of the
// next such run.
type Sink func(ctx context.Context, split int64, p *Pair) error

// HasherOptions are the choices of a [Hasher].
type HasherOptions struct {
	// Workers is how many goroutines hash. 0 is as many as there are processors.
	Workers int
}

// Hasher hashes blobs and gives their nodes to a [Sink]. It keeps its buffers, of
// 1 MiB for each worker and two more, from one blob to the next.
type Hasher struct {
	log     uint8
	workers int
	jobs    []job
	stack   []finished
	count   int64 // pieces on the stack
	groups  int64
}

// NewHasher returns a Hasher.
func NewHasher(o *HasherOptions) *Hasher {
	h := &Hasher{log: groupLog, workers: runtime.GOMAXPROCS(0)}
	if o != nil && o.Workers > 0 {
		h.workers = o.Workers
	}
	return h
}

// Sum hashes all of r and returns its digest and its size in bytes. A nil sink is
// no sink.
func (h *Hasher) Sum(ctx context.Context, r io.Reader, sink Sink) (digest.Digest, int64, error) {
	s := &stream{r: r, size: h.pieceSize()}
	root, err := h.sum(ctx, s, sink)
	if err != nil {
		return digest.Digest{}, 0, fmt.Errorf("bao: hash: %w", err)
	}
	return root, s.off, nil
}

// SumAt hashes the first size bytes of r, which it reads from several goroutines.
func (h *Hasher) SumAt(ctx context.Context, r io.ReaderAt, size int64, sink Sink) (digest.Digest, error) {
	if _, err := newShape(size); err != nil {
		return digest.Digest{}, err
	}
	root, err := h.sum(ctx, &section{r: r, size: size, piece: h.pieceSize()}, sink)
	if err != nil {
		return digest.Digest{}, fmt.Errorf("bao: hash: %w", err)
	}
	return root, nil
}

func (h *Hasher) pieceSize() int { return pieceGroups * guts.ChunkSize << h.log }

// source cuts a blob into pieces.
type source interface {
	// next begins the next piece. It reports false after the last one; there is a
	// first one always.
	next(j *job) (bool, error)
	// fill completes a piece, beside others.
	fill(j *job) error
}

// stream is read in order.
type stream struct {
	r     io.Reader
	size  int // of a piece
	off   int64
	ended bool
}

func (s *stream) next(j *job) (bool, error) {
	if s.ended {
		return false, nil
	}
	n, err := io.ReadFull(s.r, j.room(s.size))
	if s.ended = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF); err != nil && !s.ended {
		return false, err
	}
	first := s.off == 0
	j.off, j.n = s.off, n
	s.off += int64(n)
	return n > 0 || first, nil
}

func (s *stream) fill(*job) error { return nil }

// section is read by whoever hashes it.
type section struct {
	r     io.ReaderAt
	size  int64
	piece int
	off   int64
	begun bool
}

func (s *section) next(j *job) (bool, error) {
	j.off, j.n = s.off, int(min(int64(s.piece), s.size-s.off))
	s.off += int64(j.n)
	more := j.n > 0 || !s.begun
	s.begun = true
	return more, nil
}

func (s *section) fill(j *job) error {
	n, err := s.r.ReadAt(j.room(j.n), j.off)
	if n == j.n {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: %w", j.n, j.off, err)
}

// job is a piece under way.
type job struct {
	off   int64
	n     int // bytes
	buf   []byte
	pairs [pieceGroups - 1]Pair
	node  guts.Node // of the whole piece
	err   error
	done  chan struct{}
}

// room returns a buffer of n bytes. Behind them there is always room for a group,
// since groups are hashed as arrays of that length.
func (j *job) room(n int) []byte {
	if cap(j.buf) < n+GroupSize {
		j.buf = make([]byte, n+GroupSize)
	}
	j.buf = j.buf[:n+GroupSize]
	return j.buf[:n]
}

func (j *job) run(src source, log uint8) {
	if j.err = src.fill(j); j.err == nil {
		j.room(j.n) // an empty piece was never filled
		j.node = j.subtree(shape{int64(j.n), log}, subtree{end: j.groups(log)})
	}
	j.done <- struct{}{}
}

func (j *job) groups(log uint8) int64 { return shape{int64(j.n), log}.groups() }

// subtree hashes a part of the piece and keeps its parents by their splits.
func (j *job) subtree(s shape, t subtree) guts.Node {
	if t.leaf() {
		at := t.first * s.group()
		return groupNode(j.buf[at:], s.bytes(t.first), j.off+at)
	}
	split := t.split()
	left := guts.ChainingValue(j.subtree(s, subtree{first: t.first, end: split}))
	right := guts.ChainingValue(j.subtree(s, subtree{first: split, end: t.end}))
	j.pairs[split-1] = makePair(left, right)
	return parentOf(left, right)
}

// sum hashes the pieces of src in workers and takes them in their order.
func (h *Hasher) sum(ctx context.Context, src source, sink Sink) (digest.Digest, error) {
	h.stack, h.count, h.groups = h.stack[:0], 0, 0
	if h.jobs == nil {
		h.jobs = make([]job, h.workers+2)
		for i := range h.jobs {
			h.jobs[i].done = make(chan struct{}, 1)
		}
	}
	pool := &pool{src: src, log: h.log, work: make(chan *job, len(h.jobs))}
	begun, taken, err := 0, 0, error(nil)
	for more := true; err == nil && (more || taken < begun); {
		if taken+len(h.jobs) == begun || !more {
			err = h.take(ctx, &h.jobs[taken%len(h.jobs)], sink)
			taken++
			continue
		}
		j := &h.jobs[begun%len(h.jobs)]
		if more, err = src.next(j); !more || err != nil {
			continue
		}
		if begun++; j.n < h.pieceSize() && begun == 1 {
			j.run(src, h.log) // all there is
			continue
		}
		pool.add(j, begun <= h.workers)
	}
	pool.close()
	for ; taken < begun; taken++ {
		<-h.jobs[taken%len(h.jobs)].done // left by an error
	}
	if err != nil {
		return digest.Digest{}, err
	}
	return h.finish(ctx, sink)
}

// pool runs jobs on goroutines that close ends.
type pool struct {
	src  source
	log  uint8
	work chan *job
	wg   sync.WaitGroup
}

func (p *pool) add(j *job, worker bool) {
	p.work <- j // there is room for all jobs
	if worker {
		p.wg.Go(func() {
			for j := range p.work {
				j.run(p.src, p.log)
			}
		})
	}
}

func (p *pool) close() {
	close(p.work)
	p.wg.Wait()
}

// finished is a subtree whose nodes are known but for its own value, which depends
// on whether it is the root.
type finished struct {
	node  guts.Node
	first int64 // group
}

// take waits for a piece and adds it to the tree.
func (h *Hasher) take(ctx context.Context, j *job, sink Sink) error {
	<-j.done
	if j.err != nil {
		return j.err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	n := j.groups(h.log)
	if sink != nil {
		for i := range n - 1 {
			if err := sink(ctx, h.groups+i+1, &j.pairs[i]); err != nil {
				return err
			}
		}
	}
	right := finished{j.node, h.groups}
	// Of two complete subtrees of equal size a larger one can be made.
	for range bits.TrailingZeros64(^uint64(h.count)) {
		var err error
		if right, err = h.join(ctx, right, sink); err != nil {
			return err
		}
	}
	h.stack = append(h.stack, right)
	h.count++
	h.groups += n
	return nil
}

// join makes a parent of the top of the stack and right.
func (h *Hasher) join(ctx context.Context, right finished, sink Sink) (finished, error) {
	left := h.stack[len(h.stack)-1]
	h.stack = h.stack[:len(h.stack)-1]
	l, r := chainingValue(guts.ChainingValue(left.node)), chainingValue(guts.ChainingValue(right.node))
	if sink != nil {
		pair := makePair(l, r)
		if err := sink(ctx, right.first, &pair); err != nil {
			return finished{}, err
		}
	}
	return finished{parentOf(l, r), left.first}, nil
}

// finish joins what is left, from the right, up to the root.
func (h *Hasher) finish(ctx context.Context, sink Sink) (digest.Digest, error) {
	top := h.stack[len(h.stack)-1]
	h.stack = h.stack[:len(h.stack)-1]
	for len(h.stack) > 0 {
		var err error
		if top, err = h.join(ctx, top, sink); err != nil {
			return digest.Digest{}, err
		}
	}
	return digestOf(valueAs(top.node, true)), nil
}
