package pack

import (
	"context"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
)

// Imported describes a CAR that became a pack.
type Imported struct {
	Digest     digest.Digest
	Size       int64     // of the pack in bytes
	Version    int       // of the CAR: 1 or 2
	Roots      []cid.Cid // that its header names, present or not
	Blocks     int64     // sections
	Unverified int64     // sections whose hash function is not supported
}

// Import stores a CAR of version 1 or 2 byte for byte as a pack, of whatever size
// and in whatever order its blocks stand; [Sections] reads it back. Every block is
// verified, unless its hash function is not supported. A block that is not what its
// CID says, or a broken frame, is an error, and nothing is stored then.
func Import(ctx context.Context, store blob.Drafter, r io.Reader) (Imported, error) {
	draft, err := store.Draft(ctx)
	if err != nil {
		return Imported{}, fmt.Errorf("pack: import: %w", err)
	}
	defer draft.Discard()
	p, err := receive(ctx, draft, r)
	if err != nil {
		return Imported{}, fmt.Errorf("pack: import: %w", err)
	}
	if err := draft.Commit(ctx, Key(p.Digest)); err != nil {
		return Imported{}, fmt.Errorf("pack: import: commit %s: %w", p.Digest, err)
	}
	return p, nil
}

// receive copies r to draft, hashing and checking on the way.
func receive(ctx context.Context, draft blob.Draft, r io.Reader) (Imported, error) {
	h, err := digest.NewHasher(digest.SHA256)
	if err != nil {
		return Imported{}, err
	}
	out := &tail{draft: draft, buf: make([]byte, 0, bufferSize)}
	in := &source{live: ctx.Err, r: r, sink: io.MultiWriter(h, out)}
	p, err := scan(in)
	if err != nil {
		return Imported{}, in.frameError(err)
	}
	if err := in.drain(); err != nil {
		return Imported{}, err
	}
	if err := out.flush(); err != nil {
		return Imported{}, err
	}
	p.Digest, p.Size = h.Digest(), in.size
	return p, nil
}

func scan(in *source) (Imported, error) {
	r, err := car.NewReader(in, nil)
	if err != nil {
		return Imported{}, err
	}
	p := Imported{Version: r.Version(), Roots: r.Roots()}
	for {
		s, err := r.Next()
		if err == io.EOF {
			return p, nil
		}
		if err != nil {
			return p, err
		}
		verified, err := check(r, s)
		if err != nil {
			return p, fmt.Errorf("block %s at %d: %w", s.CID, s.Offset, err)
		}
		p.Blocks++
		if !verified {
			p.Unverified++
		}
	}
}

// tail writes to the end of a draft in large pieces.
type tail struct {
	draft blob.Draft
	buf   []byte
	off   int64
}

func (t *tail) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(len(rest), cap(t.buf)-len(t.buf))
		t.buf = append(t.buf, rest[:n]...)
		rest = rest[n:]
		if len(t.buf) == cap(t.buf) {
			if err := t.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(b), nil
}

func (t *tail) flush() error {
	if _, err := t.draft.WriteAt(t.buf, t.off); err != nil {
		return fmt.Errorf("write draft: %w", err)
	}
	t.off += int64(len(t.buf))
	t.buf = t.buf[:0]
	return nil
}
