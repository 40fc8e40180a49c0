package pack

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
)

const (
	bufferSize  = 1 << 20
	bufferLimit = bufferSize / 8 // what is larger is written without passing the buffer
	// fewCores is up to how many goroutines hash a pack while it is written, which
	// saves reading it back but is no faster than one core hashes. With more, packs
	// are read back and hashed in parallel.
	fewCores = 4
)

// volume is one pack that is being written: a draft, and a buffer that gathers
// small blocks at its end.
type volume struct {
	n      int
	draft  blob.Draft
	size   int64  // of all that was added, in bytes
	high   int64  // end of what was ever written to the draft
	base   int64  // offset of buf
	buf    []byte // the bytes from base to size, not written yet
	blocks int    // that stand here or are reserved
	full   bool   // nothing will be added
	// holes are the reservations that are not filled: the offset of the block, and
	// the size of its frame. The header of the first pack is one, at 0.
	holes map[int64]int64
	// Everything before hashed went through hash while it was written. Where hash
	// is nil, and behind the first hole, the draft is read back instead.
	hash   *digest.Hasher
	hashed int64
}

// add appends head and data.
func (v *volume) add(head, data []byte) error {
	n := len(head) + len(data)
	if len(v.buf)+n > bufferSize {
		if err := v.flush(); err != nil {
			return err
		}
	}
	v.buf = append(v.buf, head...)
	v.size += int64(n)
	if len(data) < bufferLimit {
		v.buf = append(v.buf, data...)
		return nil
	}
	if err := v.flush(); err != nil {
		return err
	}
	off := v.base
	v.base += int64(len(data))
	return v.write(data, off)
}

// skip leaves a hole of n bytes at the end and returns its offset.
func (v *volume) skip(n int64) (int64, error) {
	off := v.size
	if n >= bufferLimit || int64(len(v.buf))+n > bufferSize {
		if err := v.flush(); err != nil {
			return 0, err
		}
	}
	v.size += n
	if n >= bufferLimit {
		v.base = v.size
		return off, nil
	}
	v.buf = append(v.buf, make([]byte, n)...)
	return off, nil
}

// patch overwrites what stands at off. Parts are whole in the buffer or whole in
// the draft, because the buffer is only ever flushed whole.
func (v *volume) patch(off int64, parts ...[]byte) error {
	for _, b := range parts {
		if off >= v.base {
			copy(v.buf[off-v.base:], b)
		} else if err := v.write(b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

// cut drops the end from off on.
func (v *volume) cut(off int64) {
	v.size = off
	if off >= v.base {
		v.buf = v.buf[:off-v.base]
		return
	}
	v.base, v.buf = off, v.buf[:0]
}

func (v *volume) flush() error {
	if len(v.buf) == 0 {
		return nil
	}
	off := v.base
	b := v.buf
	v.base, v.buf = v.base+int64(len(b)), v.buf[:0]
	return v.write(b, off)
}

func (v *volume) write(b []byte, off int64) error {
	for len(b) > pieceSize {
		if err := v.writePiece(b[:pieceSize], off); err != nil {
			return err
		}
		b, off = b[pieceSize:], off+pieceSize
	}
	return v.writePiece(b, off)
}

// writePiece writes so little at a time that it stays in the processor's cache
// between being written and hashed.
func (v *volume) writePiece(b []byte, off int64) error {
	var hashing sync.WaitGroup
	if v.hash != nil && off == v.hashed && len(v.holes) == 0 {
		hashing.Go(func() { v.hash.Write(b) })
		v.hashed += int64(len(b))
	}
	_, err := v.draft.WriteAt(b, off)
	hashing.Wait()
	if err != nil {
		return fmt.Errorf("pack: write pack %d: %w", v.n, err)
	}
	v.high = max(v.high, off+int64(len(b)))
	return nil
}

// end flushes and gives the draft its exact size.
func (v *volume) end() error {
	if err := v.flush(); err != nil {
		return err
	}
	if v.high == v.size {
		return nil
	}
	if err := v.draft.Truncate(v.size); err != nil {
		return fmt.Errorf("pack: write pack %d: %w", v.n, err)
	}
	v.high = v.size
	return nil
}

// open starts a volume. It takes over buf.
func (w *Writer) open(ctx context.Context) error {
	draft, err := w.drafts(ctx)
	if err != nil {
		return fmt.Errorf("pack: start pack %d: %w", w.next, err)
	}
	v := &volume{n: w.next, draft: draft, buf: w.buf[:0], holes: map[int64]int64{}}
	if w.sealer.concurrency <= fewCores {
		if v.hash, err = digest.NewHasher(digest.SHA256); err != nil {
			return err
		}
	}
	w.next++
	w.volumes[v.n], w.cur = v, v
	if v.n > 0 {
		return v.add(w.header(rootless), nil)
	}
	w.headerSize = int64(len(w.header(w.placeholder)))
	v.holes[0] = w.headerSize
	_, err = v.skip(w.headerSize)
	return err
}

// shut ends the appending to the current volume.
func (w *Writer) shut(ctx context.Context) error {
	v := w.cur
	w.cur = nil
	if err := v.end(); err != nil {
		return err
	}
	w.buf, v.buf = v.buf[:0], nil
	v.full = true
	return w.settle(ctx, v)
}

// settle hands v over to be hashed and committed if nothing is left to write.
func (w *Writer) settle(ctx context.Context, v *volume) error {
	if !v.full || len(v.holes) > 0 {
		return nil
	}
	delete(w.volumes, v.n)
	if v.blocks == 0 {
		return v.draft.Discard()
	}
	if err := v.end(); err != nil {
		v.draft.Discard()
		return err
	}
	return w.sealer.start(ctx, v)
}
