package adcar

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
)

// maxHeadSize is the length of the longest head of a section: what stands before a block.
const maxHeadSize = 256

// span is where a section is: where it begins, and how many bytes hold all of it.
type span struct{ off, n int64 }

// indexed reads an archive that is not compressed, with an index in memory.
type indexed struct {
	archive *Archive
	spans   map[string]span // by multihash
}

// indexArchive reads the index of an archive, or where it has none the heads of its sections.
func indexArchive(ctx context.Context, a *Archive) (*indexed, error) {
	r, err := a.ranged(ctx)
	if err != nil {
		return nil, err
	}
	x := &indexed{archive: a, spans: map[string]span{}}
	err = x.readIndex(r)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errors.ErrUnsupported) {
		clear(x.spans)
		err = x.scan(r)
	}
	if err != nil {
		return nil, failure(r.err, err)
	}
	delete(x.spans, string(a.ad.Hash()))
	return x, nil
}

// readIndex takes the index that comes with the archive, whose claims are checked when
// a block is read.
func (x *indexed) readIndex(r *ranged) error {
	var starts []int64
	for e, err := range car.ReadIndex(r, r.size) {
		if err != nil {
			return err
		}
		if !e.Coded {
			return fmt.Errorf("index without hash functions: %w", errors.ErrUnsupported)
		}
		d, err := digestOf(e)
		if err != nil {
			return err
		}
		starts = append(starts, e.Offset)
		if err := x.add(d, span{off: e.Offset}); err != nil {
			return err
		}
	}
	// A section ends at the latest where the next one begins.
	slices.Sort(starts)
	for d, s := range x.spans {
		end := r.size
		if i, _ := slices.BinarySearch(starts, s.off+1); i < len(starts) {
			end = starts[i]
		}
		s.n = min(end-s.off, maxHeadSize+ipni.MaxBlock)
		x.spans[d] = s
	}
	return nil
}

func digestOf(e car.IndexEntry) (string, error) {
	b := binary.AppendUvarint(make([]byte, 0, 20+len(e.Value)), uint64(e.Code))
	b = binary.AppendUvarint(b, uint64(len(e.Value)))
	d, err := digest.FromBytes(append(b, e.Value...))
	if err != nil {
		return "", err
	}
	return string(d.Bytes()), nil
}

func (x *indexed) add(multihash string, s span) error {
	if len(x.spans) >= MaxBlocks {
		return fmt.Errorf("more than %d blocks", MaxBlocks)
	}
	x.spans[multihash] = s
	return nil
}

// scan reads the heads of all sections.
func (x *indexed) scan(r *ranged) error {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	in, err := car.NewReader(r, archiveLimits())
	if err != nil {
		return err
	}
	for {
		s, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		head := car.HeadSize(s.CID, s.Size)
		if s.Size > math.MaxInt64-head {
			return fmt.Errorf("%w: section of %d bytes", car.ErrMalformed, s.Size)
		}
		if err := x.add(string(s.CID.Hash()), span{s.Offset - head, head + s.Size}); err != nil {
			return err
		}
	}
}

func (x *indexed) block(ctx context.Context, c cid.Cid) ([]byte, error) {
	at, ok := x.spans[string(c.Hash())]
	if !ok {
		return nil, ErrForeign
	}
	if at.n > maxHeadSize+ipni.MaxBlock {
		return nil, fmt.Errorf("%w: section of %d bytes at %d", digest.ErrMismatch, at.n, at.off)
	}
	obj, err := x.archive.store.Get(ctx, x.archive.key, at.off, at.n)
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	b := make([]byte, at.n)
	n, err := io.ReadFull(obj, b)
	if err != nil && (err != io.ErrUnexpectedEOF && err != io.EOF) {
		return nil, err
	}
	b = b[:n] // what is missing, the section misses too
	s, err := car.SectionAt(bytes.NewReader(b), 0, int64(n))
	if err != nil {
		return nil, fmt.Errorf("%w: section at %d: %w", digest.ErrMismatch, at.off, err)
	}
	if !bytes.Equal(s.CID.Hash(), c.Hash()) {
		return nil, fmt.Errorf("%w: section at %d is of %s", digest.ErrMismatch, at.off, s.CID)
	}
	return b[s.Offset : s.Offset+s.Size], nil
}

func (x *indexed) has(c cid.Cid) bool {
	_, ok := x.spans[string(c.Hash())]
	return ok
}

func (x *indexed) empty() bool { return len(x.spans) == 0 }

func (x *indexed) close() {}
