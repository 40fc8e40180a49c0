package adcar

import (
	"context"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
)

// windowBytes bounds the blocks that are held after they were passed.
const windowBytes = 8 * ipni.MaxBlock

// maxRewinds is how often a compressed archive is read again from its beginning, because
// blocks are asked for in another order than that in which they stand.
const maxRewinds = 16

// stream reads a compressed archive from front to end, and remembers what it passed: a few
// blocks with their bytes, all others by name.
type stream struct {
	archive *Archive
	seen    map[string]int // multihash → number of the section
	whole   bool           // all of the archive was seen
	rewinds int

	src    *unpacked // nil if it is not open
	in     *car.Reader
	number int // of the next section
	window window
}

func (s *stream) has(c cid.Cid) bool {
	_, ok := s.seen[string(c.Hash())]
	return ok
}

func (s *stream) empty() bool { return s.whole && len(s.seen) == 0 }

func (s *stream) close() {
	if s.src != nil {
		s.src.close()
	}
	s.src, s.in, s.number = nil, nil, 0
	s.window = window{}
}

func (s *stream) block(ctx context.Context, c cid.Cid) ([]byte, error) {
	key := string(c.Hash())
	if b, ok := s.window.blocks[key]; ok {
		return b, nil
	}
	at, seen := s.seen[key]
	if !seen && s.whole {
		return nil, ErrForeign
	}
	if seen && s.in != nil && at < s.number {
		s.close()
	}
	b, err := s.read(ctx, key)
	if err != nil {
		s.close()
	}
	return b, err
}

// read goes on to the block with a multihash. Where the stream broke since the last call, it begins again.
func (s *stream) read(ctx context.Context, key string) ([]byte, error) {
	fresh := s.in == nil
	if fresh {
		if err := s.open(ctx); err != nil {
			return nil, err
		}
	}
	b, err := s.forward(ctx, key)
	if broken := s.src != nil && s.src.err != nil; broken && !fresh && ctx.Err() == nil {
		s.close()
		return s.read(ctx, key)
	}
	return b, err
}

func (s *stream) open(ctx context.Context) error {
	if s.rewinds++; s.rewinds > maxRewinds {
		return fmt.Errorf("%w: blocks stand in another order than they are asked for in", digest.ErrMismatch)
	}
	src, err := openUnpacked(ctx, s.archive.store, s.archive.key, s.archive.maxSize)
	if err != nil {
		return err
	}
	s.src, s.number = src, 0
	defer context.AfterFunc(ctx, src.cancel)()
	if s.in, err = car.NewReader(src, archiveLimits()); err != nil {
		return src.failure(err)
	}
	return nil
}

// forward reads sections up to the one with a multihash.
func (s *stream) forward(ctx context.Context, key string) ([]byte, error) {
	defer context.AfterFunc(ctx, s.src.cancel)()
	for {
		section, err := s.in.Next()
		if err == io.EOF {
			s.whole = true
			s.close()
			return nil, ErrForeign
		}
		if err != nil {
			return nil, s.src.failure(err)
		}
		if section.Size > ipni.MaxBlock {
			return nil, fmt.Errorf("%w: %s has %d bytes, at most %d are allowed", digest.ErrMismatch, section.CID, section.Size, ipni.MaxBlock)
		}
		data, err := s.in.Data()
		if err != nil {
			return nil, s.src.failure(err)
		}
		name := string(section.CID.Hash())
		if err := s.note(name, section.CID); err != nil {
			return nil, err
		}
		s.window.add(name, data)
		if name == key {
			return data, nil
		}
	}
}

// note remembers the next section. The advertisement is none of the entries.
func (s *stream) note(name string, c cid.Cid) error {
	if _, ok := s.seen[name]; !ok && !c.Equals(s.archive.ad) {
		if len(s.seen) >= MaxBlocks {
			return fmt.Errorf("%w: more than %d blocks", digest.ErrMismatch, MaxBlocks)
		}
		s.seen[name] = s.number
	}
	s.number++
	return nil
}

// window holds the blocks that were passed last, by multihash.
type window struct {
	blocks map[string][]byte
	order  []string
	bytes  int
}

func (w *window) add(name string, data []byte) {
	if w.blocks == nil {
		w.blocks = map[string][]byte{}
	}
	if _, ok := w.blocks[name]; ok {
		return
	}
	w.blocks[name] = data
	w.order = append(w.order, name)
	for w.bytes += len(data); w.bytes > windowBytes; {
		oldest := w.order[0]
		w.order = w.order[1:]
		w.bytes -= len(w.blocks[oldest])
		delete(w.blocks, oldest)
	}
}
