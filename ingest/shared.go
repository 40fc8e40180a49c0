package ingest

import (
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/unixfs"
)

const (
	// sharedSize is the size of files from which on goroutines that hash read by themselves.
	// At the end of such a file they are waited for.
	sharedSize = 32 << 20
	// pieceBytes are read and hashed at a time, so that they are still in the processor's
	// cache when they are hashed.
	pieceBytes = 128 << 10
)

// shared is a file whose leaves are read by those who hash them: that saves carrying
// all of it from one core to another through memory.
type shared struct {
	name string
	r    io.ReaderAt
	left sync.WaitGroup // leaves that are still to be read
}

// share returns f as a shared file if it is large and can be read anywhere, else nil.
func share(name string, f fs.File, size int64) *shared {
	if r, ok := f.(io.ReaderAt); ok && size >= sharedSize {
		return &shared{name: name, r: r}
	}
	return nil
}

// leaf hashes the raw leaf at an offset, which is as long as room. What is left in room
// is of no use.
func (s *shared) leaf(p unixfs.Profile, room []byte, at int64) (block.Block, error) {
	h, err := digest.NewHasher(p.Hash)
	if err != nil {
		return block.Block{}, err
	}
	piece := room[:min(len(room), pieceBytes)]
	for left := len(room); left > 0; left -= len(piece) {
		piece = piece[:min(left, len(piece))]
		if n, err := s.r.ReadAt(piece, at); n < len(piece) {
			if err == io.EOF {
				err = ErrChanged
			}
			return block.Block{}, fmt.Errorf("%s: %w", s.name, err)
		}
		h.Write(piece) // never fails
		at += int64(len(piece))
	}
	return block.Block{CID: h.Digest().CID(cid.Raw), Data: room}, nil
}

// release tells that nobody reads for b any more.
func (b *batch) release() {
	for i := range b.ops {
		if s := b.ops[i].from; s != nil {
			s.left.Done()
		}
	}
}
