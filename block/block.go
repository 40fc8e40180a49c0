// Package block defines the block, the unit of content addressing, and the two
// interfaces that everything else meets at: [Source], which yields verified
// blocks, and [Opener], which answers a [Selection] with a [Body] of bytes.
//
// A block is bytes individually addressed by one digest. Its CID adds the codec
// that says how to read links out of it.
//
// # Errors
//
// Absent content matches [io/fs.ErrNotExist]; corrupt content matches
// [digest.ErrMismatch]; a selection that does not fit the content matches
// [ErrRange], [ErrNotLink] or [ErrEncoding].
package block

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
)

// MaxSize is the largest block in bytes that is served, fetched or packed as one: the
// limit of the trustless gateway specification (2 MiB). Only what can be verified in
// parts, which is a BLAKE3 blob with its tree, is served beyond it.
const MaxSize = 2 << 20

var (
	// ErrTooLarge reports a block over [MaxSize].
	ErrTooLarge = errors.New("block is larger than 2 MiB")
	// ErrEncoding reports content that has no form in the encoding that was asked for.
	ErrEncoding = errors.New("the content cannot be written in this form")
	// ErrRange reports a byte range that lies wholly outside the selected entity.
	ErrRange = errors.New("range is outside the content")
	// ErrNotLink reports a path that goes on where the content has no link.
	ErrNotLink = errors.New("path continues into something that is not a link")
)

// Block is bytes and the CID that names them.
type Block struct {
	CID  cid.Cid
	Data []byte
}

// New verifies data against c and returns the block.
func New(c cid.Cid, data []byte) (Block, error) {
	if len(data) > MaxSize {
		return Block{}, fmt.Errorf("block %s: %w", c, ErrTooLarge)
	}
	d, err := digest.FromCID(c)
	if err != nil {
		return Block{}, fmt.Errorf("block %s: %w", c, err)
	}
	err = d.Verify(data)
	if errors.Is(err, digest.ErrMismatch) {
		err = digest.ErrMismatch // c says which digest
	}
	if err != nil {
		return Block{}, fmt.Errorf("block %s: %w", c, err)
	}
	return Block{CID: c, Data: data}, nil
}

// Source yields verified blocks by digest. It is implemented by the local
// streamer, by clients of other machines and by caches.
type Source interface {
	// Blocks yields the verified block of d first, and after it, where the
	// source knows what d contains, the other blocks of that DAG in depth-first,
	// first-seen order. It stops after the first error. A consumer that wants
	// one block breaks after the first. A block whose codec the source does not
	// know carries the raw codec.
	Blocks(ctx context.Context, d digest.Digest) iter.Seq2[Block, error]
}

// Get returns the one block that c names. An identity CID is answered without
// asking src.
func Get(ctx context.Context, src Source, c cid.Cid) (Block, error) {
	d, err := digest.FromCID(c)
	if err != nil {
		return Block{}, fmt.Errorf("block %s: %w", c, err)
	}
	if inline, ok := d.Inline(); ok {
		return Block{CID: c, Data: inline}, nil
	}
	for b, err := range src.Blocks(ctx, d) {
		if err != nil {
			return Block{}, err
		}
		return Block{CID: c, Data: b.Data}, nil
	}
	return Block{}, fmt.Errorf("block %s: %w", c, fs.ErrNotExist)
}
