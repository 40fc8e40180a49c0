package streamer

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/streamer/copies"
	"github.com/hashstream/hashstream/streamer/trees"
)

func (s *Streamer) openRaw(ctx context.Context, d digest.Digest) (block.Body, error) {
	if inline, ok := d.Inline(); ok {
		return &memoryBody{inline}, nil
	}
	return s.openBlock(ctx, s.within(digest.Digest{}), d)
}

// openBlock finds a copy of one block that can be read.
func (s *Streamer) openBlock(ctx context.Context, src source, d digest.Digest) (block.Ranger, error) {
	rec, err := s.findBlock(ctx, src, d)
	if err != nil {
		return nil, err
	}
	if rec.Length > block.MaxSize {
		return s.blobs.Body(rec), nil
	}
	return &rawBody{s: s, rec: rec}, nil
}

func (s *Streamer) findBlock(ctx context.Context, src source, d digest.Digest) (index.Record, error) {
	if f, ok := s.places.GetIfPresent(d); ok && s.stillThere(ctx, f) {
		return f.Record, nil
	}
	var failed error
	for rec, err := range s.index.Places(ctx, d, src.containing) {
		if err == nil && rec.Length > block.MaxSize {
			_, err = s.blobs.Tree(ctx, rec)
		}
		if err == nil {
			err = s.copies.Stat(ctx, rec.Location)
		}
		if err != nil {
			failed = copies.Worse(failed, err)
			continue
		}
		f := &found{Record: rec, read: time.Now()}
		f.seen.Store(f.read.UnixNano())
		s.places.Set(d, f)
		return rec, nil
	}
	if failed != nil {
		return index.Record{}, failed
	}
	rec, err := s.copies.Root(ctx, d)
	if err != nil {
		return index.Record{}, err
	}
	return rec, s.copies.Stat(ctx, rec.Location)
}

// found is the place of a block that was opened.
type found struct {
	index.Record
	read time.Time    // when the index said so
	seen atomic.Int64 // when its object was last seen there, in unix nanoseconds
}

// seenLife is how long an object counts as being there. Only answers without a
// body depend on it: whoever sends opens the object.
const seenLife = time.Second

func (s *Streamer) stillThere(ctx context.Context, f *found) bool {
	now := time.Now()
	if now.Sub(f.read) > copies.Life {
		return false
	}
	if now.UnixNano()-f.seen.Load() < int64(seenLife) {
		return true
	}
	if s.copies.Stat(ctx, f.Location) != nil {
		return false
	}
	f.seen.Store(now.UnixNano())
	return true
}

// rawBody is the bytes of one block.
type rawBody struct {
	s   *Streamer
	rec index.Record
}

func (b *rawBody) Size() (int64, bool) { return b.rec.Length, true }
func (b *rawBody) Variant() string     { return variant }

func (b *rawBody) Send(ctx context.Context, w io.Writer) (int64, error) {
	return b.SendRange(ctx, w, 0, b.rec.Length)
}

// SendRange implements [block.Ranger]. A part is sent only once the whole block
// was verified.
func (b *rawBody) SendRange(ctx context.Context, w io.Writer, off, n int64) (int64, error) {
	if sent, done, err := b.sendVerified(ctx, w, off, n); done {
		return sent, err
	}
	data, err := b.s.copies.Read(ctx, b.rec)
	if err != nil {
		if data, err = b.s.copies.Other(ctx, b.rec.Digest, err); err != nil {
			return 0, err
		}
	}
	m, err := w.Write(data[off : off+n])
	return int64(m), err
}

// sendVerified sends from an object that was verified before. It reports false,
// with nothing sent, if this one was not.
func (b *rawBody) sendVerified(ctx context.Context, w io.Writer, off, n int64) (int64, bool, error) {
	if b.s.o.Verify == VerifyAlways {
		return 0, false, nil
	}
	obj, err := b.s.copies.Get(ctx, b.rec.Location, b.rec.Offset+off, n)
	if err != nil {
		return 0, false, nil // the slow way says why, or finds another copy
	}
	defer obj.Close()
	if !b.s.copies.Trusted(ctx, b.rec.Location, obj, b.rec.Offset, b.rec.Length) {
		return 0, false, nil
	}
	if wt, ok := obj.(io.WriterTo); ok {
		sent, err := wt.WriteTo(w)
		if err == nil && sent != n {
			err = fmt.Errorf("streamer: send %s: %w", b.rec.Digest, io.ErrUnexpectedEOF)
		}
		return sent, true, err
	}
	buf := b.s.copies.Buffers.Get(n)
	defer b.s.copies.Buffers.Put(buf)
	if _, err := io.ReadFull(obj, *buf); err != nil || copies.Recheck(obj) != nil {
		return 0, false, nil
	}
	sent, err := w.Write(*buf)
	return int64(sent), true, err
}

// openProof opens a range of a BLAKE3 blob with its proof.
func (s *Streamer) openProof(ctx context.Context, d digest.Digest, sel block.Selection) (block.Body, error) {
	if err := trees.Provable(d, sel); err != nil {
		return nil, err
	}
	rec, err := s.findBlock(ctx, s.within(digest.Digest{}), d)
	if err != nil {
		return nil, err
	}
	return s.blobs.Proof(rec, sel.Bytes)
}
