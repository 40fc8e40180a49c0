package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
)

// Fault is something wrong with a stored pack.
type Fault struct {
	Pack   digest.Digest
	Offset int64   // of the block's bytes, or -1 if the fault is of the pack as a whole
	CID    cid.Cid // of the block, or undefined
	Err    error   // matches digest.ErrMismatch, car.ErrMalformed, car.ErrTruncated, block.ErrTooLarge
}

// String says what is wrong, for people.
func (f Fault) String() string {
	if f.CID.Defined() {
		return fmt.Sprintf("pack %s: block %s at %d: %v", f.Pack, f.CID, f.Offset, f.Err)
	}
	return fmt.Sprintf("pack %s: %v", f.Pack, f.Err)
}

// Verify reads the pack that d names, and yields every fault: of its blocks in
// their order, then of its frames, then of its name. No fault means that it is
// whole. Blocks of a hash function that is not supported pass. It goes on after a
// bad block, but not after a bad frame. An error means that the pack could not be
// read, and ends the sequence.
func Verify(ctx context.Context, g blob.Getter, d digest.Digest) iter.Seq2[Fault, error] {
	return func(yield func(Fault, error) bool) {
		if err := verify(ctx, g, d, func(f Fault) bool { return yield(f, nil) }); err != nil {
			yield(Fault{}, fmt.Errorf("pack: verify %s: %w", d, err))
		}
	}
}

// VerifyAll is [Verify] for every pack of the store, in the order of their keys.
// A pack that is deleted meanwhile is passed over.
func VerifyAll(ctx context.Context, s interface {
	blob.Getter
	blob.Lister
}) iter.Seq2[Fault, error] {
	return func(yield func(Fault, error) bool) {
		for info, err := range List(ctx, s) {
			if err != nil {
				yield(Fault{}, err)
				return
			}
			for f, err := range Verify(ctx, s, info.Digest) {
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if !yield(f, err) || err != nil {
					return
				}
			}
		}
	}
}

func verify(ctx context.Context, g blob.Getter, d digest.Digest, yield func(Fault) bool) error {
	obj, err := g.Get(ctx, Key(d), 0, -1)
	if err != nil {
		return err
	}
	defer obj.Close()
	h, err := digest.NewHasher(d.Code())
	if err != nil {
		return err
	}
	in := &source{live: ctx.Err, r: obj, sink: h}
	more, err := verifyBlocks(in, d, yield)
	if err != nil || !more {
		return err
	}
	if err := in.drain(); err != nil {
		return err
	}
	if h.Digest() != d {
		yield(Fault{Pack: d, Offset: -1, Err: fmt.Errorf("its bytes: %w", digest.ErrMismatch)})
	}
	return nil
}

// verifyBlocks yields the faults of frames and blocks. It reports whether yield
// wants more.
func verifyBlocks(in *source, d digest.Digest, yield func(Fault) bool) (more bool, err error) {
	r, err := car.NewReader(in, nil)
	if err != nil {
		return yieldFrame(in, d, -1, err, yield)
	}
	for at := int64(-1); ; {
		s, err := r.Next()
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return yieldFrame(in, d, at, err, yield)
		}
		at = s.Offset
		if _, err := check(r, s); err != nil {
			if in.err != nil {
				return false, in.err
			}
			if !yield(Fault{d, s.Offset, s.CID, err}) {
				return false, nil
			}
		}
	}
}

func yieldFrame(in *source, d digest.Digest, after int64, err error, yield func(Fault) bool) (bool, error) {
	if in.err != nil {
		return false, in.err
	}
	if after >= 0 {
		err = fmt.Errorf("after the block at %d: %w", after, err)
	}
	return yield(Fault{Pack: d, Offset: -1, Err: err}), nil
}

// check reads and verifies the block of s. It reports whether the hash function
// is one that can be verified.
func check(r *car.Reader, s car.Section) (verified bool, err error) {
	data, err := r.Data()
	if err != nil {
		return false, err
	}
	d, err := digest.FromCID(s.CID)
	if err != nil {
		return false, err
	}
	err = d.Verify(data)
	if errors.Is(err, digest.ErrUnsupported) {
		return false, nil
	}
	return err == nil, err
}

// source reads r, hands everything to sink, and remembers an error of either, so
// that a failing disk is not mistaken for a bad pack.
type source struct {
	live func() error // an error when it is time to stop
	r    io.Reader
	sink io.Writer
	size int64
	err  error
}

func (s *source) Read(b []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.err = s.live(); s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(b)
	s.size += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	if _, werr := s.sink.Write(b[:n]); werr != nil {
		s.err, err = werr, werr
	}
	return n, err
}

// drain reads what is left.
func (s *source) drain() error {
	_, err := io.Copy(io.Discard, s)
	return err
}

// frameError turns an error while reading a CAR into the one to report.
func (s *source) frameError(err error) error {
	if s.err != nil {
		return s.err
	}
	return err
}
