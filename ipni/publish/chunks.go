package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/bits"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
)

// setDigest tells sets apart, in whatever order they come: the sum of the sha2-256 of
// their members modulo 2²⁵⁶.
type setDigest [4]uint64

func (s *setDigest) add(mh multihash.Multihash) {
	sum := sha256.Sum256(mh)
	var carry uint64
	for i := range s {
		s[i], carry = bits.Add64(s[i], binary.LittleEndian.Uint64(sum[8*i:]), carry)
	}
}

func (s setDigest) bytes() []byte {
	var b []byte
	for _, word := range s {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return b
}

// The size of a multihash in a chunk: base64, and what stands around it.
const (
	aroundEntry = len(`{"/":{"bytes":""}},`)
	maxEncoded  = ipni.MaxBlock - 1024 // what stands around all of them
)

// entries writes multihashes as a chain of chunks, each of which points to the one that was
// written before it. The last one is held back until it is known to be needed.
type entries struct {
	p       *Publisher
	pending ipni.Multihashes
	held    int // multihashes in pending
	encoded int // bytes that pending will have in a chunk
	chunks  []cid.Cid
	written []cid.Cid // of chunks, those that were not there before
	set     setDigest
	count   int64
}

// readEntries takes all of seq.
func (p *Publisher) readEntries(ctx context.Context, seq iter.Seq2[multihash.Multihash, error]) (*entries, error) {
	e := &entries{p: p}
	for mh, err := range seq {
		if err == nil {
			err = e.add(ctx, mh)
		}
		if err != nil {
			return e, err
		}
	}
	return e, nil
}

func (e *entries) add(ctx context.Context, mh multihash.Multihash) error {
	n, _, err := multihash.MHFromBytes(mh)
	if err != nil || n != len(mh) || n > ad.MaxMultihash {
		return fmt.Errorf("multihash %x: %w", mh[:min(len(mh), 64)], fs.ErrInvalid)
	}
	size := base64.RawStdEncoding.EncodedLen(len(mh)) + aroundEntry
	if e.held == e.p.options.Chunk || e.encoded+size > maxEncoded {
		if err := e.flush(ctx); err != nil {
			return err
		}
	}
	e.pending = append(e.pending, mh...)
	e.held++
	e.encoded += size
	e.set.add(mh)
	e.count++
	return nil
}

// flush writes the chunk that was held back.
func (e *entries) flush(ctx context.Context) error {
	if e.held == 0 {
		return nil
	}
	if len(e.chunks) == maxChunks {
		return fmt.Errorf("more than %d chunks: %w", maxChunks, fs.ErrInvalid)
	}
	next := cid.Undef
	if n := len(e.chunks); n > 0 {
		next = e.chunks[n-1]
	}
	c, data, err := ad.EncodeChunk(e.pending, next)
	if err != nil {
		return err
	}
	_, err = e.p.blobs.Stat(ctx, e.p.chunkKey(c))
	if errors.Is(err, fs.ErrNotExist) {
		e.written = append(e.written, c)
		err = e.p.blobs.Put(ctx, e.p.chunkKey(c), bytes.NewReader(data))
	}
	if err != nil {
		return err
	}
	e.chunks = append(e.chunks, c)
	e.pending, e.held, e.encoded = e.pending[:0], 0, 0
	return nil
}

// root returns the chunk that an advertisement points to.
func (e *entries) root() cid.Cid {
	if len(e.chunks) == 0 {
		return cid.Undef
	}
	return e.chunks[len(e.chunks)-1]
}

// discard removes the chunks that turned out not to be needed. What stays behind, Sweep removes.
func (e *entries) discard(ctx context.Context) {
	for _, c := range e.written {
		if used, err := e.p.used(ctx, c); err == nil && !used {
			_ = e.p.blobs.Delete(ctx, e.p.chunkKey(c)) // Sweep will
		}
	}
}
