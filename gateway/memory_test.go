package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"testing"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/gateway/gatewaytest"
)

// TestConformance runs the suite over blocks in memory and a plain walk.
func TestConformance(t *testing.T) {
	gatewaytest.Run(t, func(t *testing.T, archive []byte) block.Opener { return load(t, archive) })
}

// memory is a source of blocks, and the simplest Opener over one.
type memory map[digest.Digest]block.Block

func load(t testing.TB, archive []byte) memory {
	t.Helper()
	r, err := car.NewReader(bytes.NewReader(archive), nil)
	if err != nil {
		t.Fatal(err)
	}
	m := memory{}
	for {
		section, err := r.Next()
		if errors.Is(err, io.EOF) {
			return m
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := r.Data()
		if err != nil {
			t.Fatal(err)
		}
		b, err := block.New(section.CID, data)
		if err != nil {
			t.Fatal(err)
		}
		d, err := digest.FromCID(b.CID)
		if err != nil {
			t.Fatal(err)
		}
		m[d] = b
	}
}

func (m memory) Blocks(_ context.Context, d digest.Digest) iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		b, ok := m[d]
		if !ok {
			yield(block.Block{}, fmt.Errorf("memory: %s: %w", d, fs.ErrNotExist))
			return
		}
		yield(b, nil)
	}
}

// Open answers from a first look at the walk: whatever fails before the terminus
// fails here.
func (m memory) Open(ctx context.Context, sel block.Selection) (block.Body, error) {
	if sel.Encoding == block.EncodingRaw {
		b, err := block.Get(ctx, m, sel.Root)
		return walked{frames: b.Data, exact: true}, err
	}
	if _, err := dag.Resolve(ctx, m, sel.Root, sel.Path); err != nil {
		return nil, err
	}
	body := walked{frames: car.AppendHeader(nil, sel.Root), exact: true}
	first := true
	for b, err := range dag.Walk(ctx, m, sel) {
		if err != nil && (first || errors.Is(err, block.ErrRange)) {
			return nil, err
		}
		if err != nil {
			body.err, body.exact = err, false
			break
		}
		first = false
		body.frames = append(car.AppendHead(body.frames, b.CID, int64(len(b.Data))), b.Data...)
	}
	return body, nil
}

// walked is a body that was walked beforehand, up to its first error.
type walked struct {
	frames []byte
	err    error
	exact  bool
}

func (w walked) Size() (int64, bool) { return int64(len(w.frames)), w.exact }

func (w walked) Variant() string {
	if w.exact {
		return "walk"
	}
	return ""
}

func (w walked) Send(ctx context.Context, out io.Writer) (int64, error) {
	return w.SendRange(ctx, out, 0, int64(len(w.frames)))
}

func (w walked) SendRange(_ context.Context, out io.Writer, off, n int64) (int64, error) {
	sent, err := out.Write(w.frames[off : off+n])
	if err == nil {
		err = w.err
	}
	return int64(sent), err
}
