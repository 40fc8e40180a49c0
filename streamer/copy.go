package streamer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/streamer/copies"
)

// sendCopied sends a run through memory, a batch at a time. A block that is bad in
// p's object, or every block if there is none, comes from another copy. Nothing is
// written before the first batch is right.
func (s *Streamer) sendCopied(ctx context.Context, w io.Writer, p piece) (int64, error) {
	out := &prefixWriter{w: w, prefix: p.run.Prefix}
	for entries := range p.run.Batches() {
		if err := s.sendBatch(ctx, out, &p, entries); err != nil {
			return out.sent, err
		}
	}
	return out.sent, nil
}

// sendBatch reads the next entries from p, and notes if no more can be read.
func (s *Streamer) sendBatch(ctx context.Context, w io.Writer, p *piece, entries []index.Entry) error {
	buf := s.copies.Buffers.Get(written(entries, p.run.Bare))
	defer s.copies.Buffers.Put(buf)
	have := p.fill(*buf, entries)
	if p.trusted && p.err == nil {
		if p.err = copies.Recheck(p.obj); p.err == nil {
			_, err := w.Write(*buf)
			return err
		}
		have = 0
	}
	repaired := p.err != nil
	rest := *buf
	for i, e := range entries {
		section := rest[:written(entries[i:i+1], p.run.Bare)]
		rest = rest[len(section):]
		wrong := p.err
		if len(*buf)-len(rest) <= have {
			wrong = s.copies.CheckEntry(ctx, p.run.Location, p.obj, e, section)
		}
		if wrong == nil {
			continue
		}
		repaired = true
		if err := s.repair(ctx, e, section, wrong); err != nil {
			return err
		}
	}
	if at := entries[0].Start(); !repaired {
		s.copies.Remember(p.run.Location, p.obj.Info().Version, at, entries[len(entries)-1].End()-at)
	}
	_, err := w.Write(*buf)
	return err
}

// written returns the bytes that are sent of entries which stand together.
func written(entries []index.Entry, bare bool) int64 {
	n := entries[len(entries)-1].End() - entries[0].Start()
	if bare {
		for i := range entries {
			n += entries[i].Head()
		}
	}
	return n
}

// fill reads entries into buf, each behind its frame, and returns how many bytes of
// buf are filled. p.err says why that is not all.
func (p *piece) fill(buf []byte, entries []index.Entry) int {
	if !p.run.Bare {
		return p.read(buf)
	}
	have := 0
	for _, e := range entries {
		c, err := e.CID()
		if err != nil {
			p.err = err
			return have
		}
		head := car.AppendHead(buf[have:have], c, e.Size)
		body := buf[have+len(head):][:e.Size]
		if n := p.read(body); n < len(body) {
			return have
		}
		have += len(head) + len(body)
	}
	return have
}

func (p *piece) read(b []byte) (n int) {
	if p.err == nil {
		n, p.err = io.ReadFull(p.obj, b)
	}
	return n
}

// repair makes the section of an entry right: from the plan if only its frame is
// damaged, else from another copy of the block.
func (s *Streamer) repair(ctx context.Context, e index.Entry, section []byte, wrong error) error {
	c, err := e.CID()
	if err != nil {
		return err
	}
	if !errors.Is(wrong, copies.ErrFrame) {
		b, err := s.entryCopy(ctx, e, wrong)
		if err != nil {
			return err
		}
		copy(section[int64(len(section))-e.Size:], b.Data)
	}
	if int64(len(section)) > e.Size {
		copy(section, car.AppendHead(nil, c, e.Size))
	}
	return nil
}

// entryCopy returns the block of an entry from a copy elsewhere.
func (s *Streamer) entryCopy(ctx context.Context, e index.Entry, failed error) (block.Block, error) {
	c, err := e.CID()
	if err != nil {
		return block.Block{}, err
	}
	d, err := digest.FromCID(c)
	if err != nil {
		return block.Block{}, err
	}
	data, err := s.copies.Other(ctx, d, failed)
	if err == nil && int64(len(data)) != e.Size {
		err = fmt.Errorf("streamer: plan says %d bytes of %s: %w", e.Size, c, index.ErrCorrupt)
	}
	return block.Block{CID: c, Data: data}, err
}
